//! The emulated screen of a session: what a terminal that saw every byte would show.
//!
//! It reads from the ring, behind the output, and must have read a byte before the ring lets it go. Where much waits, lines that scroll off the
//! screen before anyone could see them are passed over, which is what lets output flow faster than any emulator reads.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
};

use vt100::{Callbacks, Parser};

use super::ring::Ring;
use crate::protocol::frame::Size;

/// Rows kept above the screen, so that a screen made taller shows what a viewer's terminal shows.
const ROWS_ABOVE: usize = 20;

/// How much plain text must wait before passing over is tried.
const WORTH_PASSING_OVER: usize = 8 * 1024;

/// Longer titles are cut: they are shown in a tab.
const TITLE_CHARACTERS: usize = 256;

pub struct Screen {
    parser: Parser<Seen>,
    at: u64,
    /// Sizes that hold from an offset on that was not read yet.
    resizes: VecDeque<(u64, Size)>,
}

/// What the emulator itself does not keep.
#[derive(Default)]
struct Seen {
    title: String,
    /// Private modes it does not know, such as 1004 (focus) and 2031, by whether they are set.
    modes: BTreeMap<u16, bool>,
}

impl Callbacks for Seen {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.title = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).take(TITLE_CHARACTERS).collect();
    }

    fn unhandled_csi(&mut self, _: &mut vt100::Screen, i1: Option<u8>, _: Option<u8>, params: &[&[u16]], c: char) {
        // 2026 (synchronized output) would freeze a viewer that is repainted in the middle of it.
        if i1 == Some(b'?') && matches!(c, 'h' | 'l') {
            for mode in params.iter().filter_map(|param| param.first()).filter(|mode| **mode != 2026) {
                if self.modes.len() < 64 || self.modes.contains_key(mode) {
                    self.modes.insert(*mode, c == 'h');
                }
            }
        }
    }
}

impl Screen {
    /// An empty screen that has read up to `at`.
    pub fn new(size: Size, at: u64) -> Self {
        Self { parser: parser(size, Seen::default()), at, resizes: VecDeque::new() }
    }

    /// The offset up to which this screen has read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// As far as read: call [`Screen::catch_up`] before.
    pub fn title(&self) -> &str {
        &self.parser.callbacks().title
    }

    /// `size` holds for the bytes from `offset` on.
    pub fn resize(&mut self, offset: u64, size: Size) {
        self.resizes.push_back((offset, size));
    }

    /// Reads all that is in the ring.
    pub fn catch_up(&mut self, ring: &Ring) {
        loop {
            let until = self.resizes.front().map_or(ring.end(), |(offset, _)| *offset);
            while self.at < until {
                let limit = usize::try_from(until - self.at).unwrap_or(usize::MAX);
                let (piece, _) = ring.read(self.at, limit);
                if piece.is_empty() {
                    // Cannot be while the session keeps its promise; a screen with a gap is better than none.
                    self.at = until;
                    break;
                }
                self.at += piece.len() as u64;
                self.feed(piece);
            }
            match self.resizes.pop_front() {
                Some((_, size)) => {
                    let (rows, columns) = cells(size);
                    self.guarded(|parser| parser.set_size(rows, columns));
                }
                None => return,
            }
        }
    }

    /// What brings any terminal to this screen: modes off, cleared, redrawn, cursor and modes as they are. The rows above stay.
    pub fn repaint(&self) -> Vec<u8> {
        let screen = self.parser.screen();
        // Out of the other screen, scroll region, origin mode and character set of whoever wrote before; wrap on, mouse and paste modes off.
        let mut paint = b"\x18\x1b[?1049l\x1b[!p\x1b[r\x1b[?6l\x1b[?7h\x1b(B\x0f\x1b[4l\
            \x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?2026l\x1b[0m"
            .to_vec();
        if screen.alternate_screen() {
            let mut main = screen.clone();
            let mut leave = parser(self.size(), Seen::default());
            std::mem::swap(leave.screen_mut(), &mut main);
            leave.process(b"\x1b[?1049l");
            paint.extend(leave.screen().contents_formatted().bytes());
            paint.extend(b"\x1b[?1049h");
        }
        paint.extend(screen.state_formatted().bytes());
        for (mode, set) in &self.parser.callbacks().modes {
            paint.extend(format!("\x1b[?{mode}{}", if *set { 'h' } else { 'l' }).bytes());
        }
        paint
    }

    /// The text on the screen, for tests.
    #[cfg(test)]
    pub fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    fn size(&self) -> Size {
        let (rows, columns) = self.parser.screen().size();
        Size { columns: columns.get(), rows: rows.get() }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let lines = 2 * usize::from(self.size().rows) + ROWS_ABOVE;
        while let Some((head, passed, tail)) = pass_over(bytes, lines) {
            self.guarded(|parser| parser.process(head));
            self.guarded(|parser| parser.process(&colors(passed)));
            bytes = tail;
            let plain = plain_length(bytes);
            let (now, later) = bytes.split_at(plain);
            self.guarded(|parser| parser.process(now));
            bytes = later;
        }
        self.guarded(|parser| parser.process(bytes));
    }

    /// The emulator is not ours and eats what any program writes: should it panic, the session goes on with an empty screen.
    fn guarded(&mut self, work: impl FnOnce(&mut Parser<Seen>)) {
        let size = self.size();
        if catch_unwind(AssertUnwindSafe(|| work(&mut self.parser))).is_err() {
            self.parser = parser(size, Seen::default());
        }
    }
}

fn cells(size: Size) -> (NonZeroU16, NonZeroU16) {
    let size = size.clamped();
    (NonZeroU16::new(size.rows).unwrap_or(NonZeroU16::MIN), NonZeroU16::new(size.columns).unwrap_or(NonZeroU16::MIN))
}

fn parser(size: Size, seen: Seen) -> Parser<Seen> {
    let (rows, columns) = cells(size);
    Parser::new_with_callbacks(rows, columns, ROWS_ABOVE, seen)
}

/// Bytes at the front that can neither move the cursor but along its line and down, nor change how anything is drawn but by colors: text, and
/// of sequences only those that set colors or erase within a line.
fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| matches!(byte, 0x0e | 0x0f | 0x1b)) {
        at += next;
        match sequence(&bytes[at..]) {
            Some((length, b'm' | b'K')) => at += length,
            _ => return at,
        }
    }
    bytes.len()
}

/// Length and last byte of the CSI sequence at the front, if it has only numbers as parameters.
fn sequence(bytes: &[u8]) -> Option<(usize, u8)> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    Some((end + 3, parameters[end]))
}

/// The sequences in plain `bytes` that make up the color at their end: those since it was last set back.
fn colors(bytes: &[u8]) -> Vec<u8> {
    let mut colors = Vec::new();
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == 0x1b) {
        at += next;
        let Some((length, last)) = sequence(&bytes[at..]) else { break };
        let whole = &bytes[at..at + length];
        if matches!(whole, b"\x1b[m" | b"\x1b[0m") {
            colors.clear();
        }
        if last == b'm' {
            colors.extend_from_slice(whole);
        }
        at += length;
    }
    colors
}

/// Where a long stretch of plain lines stands in `bytes`: what to read before it, what of it to pass over but for its colors, and from where
/// to go on so that everything on the screen is the same as if all had been read.
///
/// The head ends with the first line of the stretch, so that a sequence that was begun before is ended; the rest begins at a line `lines` from
/// the end of the stretch, after "\r\n", when every row in reach has been scrolled away and the cursor is in the first column either way.
fn pass_over(bytes: &[u8], lines: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let mut from = 0;
    while bytes.len() - from >= WORTH_PASSING_OVER {
        let stretch = &bytes[from..from + plain_length(&bytes[from..])];
        if stretch.len() >= WORTH_PASSING_OVER {
            let head = find_line_end(stretch)?;
            let mut seen = 0;
            let start = (head..stretch.len()).rev().find(|at| {
                if stretch[*at] == b'\n' && *at > 0 && stretch[at - 1] == b'\r' {
                    seen += 1;
                }
                seen > lines
            });
            if let Some(start) = start {
                return Some((&bytes[..from + head], &stretch[head..=start], &bytes[from + start + 1..]));
            }
        }
        from += stretch.len().max(1);
    }
    None
}

/// The offset after the first "\r\n".
fn find_line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { columns: 40, rows: 10 };

    fn screen_of(bytes: &[u8]) -> Screen {
        let mut ring = Ring::new(bytes.len().max(1), 0);
        ring.push(bytes);
        let mut screen = Screen::new(SIZE, 0);
        screen.catch_up(&ring);
        screen
    }

    fn plainly(bytes: &[u8]) -> Parser<Seen> {
        let mut plain = parser(SIZE, Seen::default());
        plain.process(bytes);
        plain
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[ -~]{0,60}".prop_map(String::into_bytes),
            Just(b"\r\n".to_vec()),
            (1u16..800, "[a-z]{0,50}").prop_map(|(n, text)| format!("{text}\r\n").repeat(n.into()).into_bytes()),
            Just(b"\x1b[31mred".to_vec()),
            Just(b"\x1b[?1049h".to_vec()),
            Just(b"\x1b[?1049l".to_vec()),
            Just(b"\x1b[2;6r".to_vec()),
            Just(b"\x1b[5;7H".to_vec()),
            Just("ä漢🙂".as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..30),
        ]
    }

    proptest! {
        /// The cursor must be within a scroll region for it to hold, as it is in every program that sets one; so no regions here.
        #[test]
        fn passing_over_lines_changes_nothing_on_the_screen(
            pieces in proptest::collection::vec(
                prop_oneof![
                    "[ -~]{0,60}".prop_map(String::into_bytes),
                    (1u16..800, "[a-z]{0,50}").prop_map(|(n, text)| format!("{text}\r\n").repeat(n.into()).into_bytes()),
                    Just(b"\x1b[31mred".to_vec()),
                    (1u16..800, 30u8..48, any::<bool>()).prop_map(|(n, color, reset)| {
                        let reset = if reset { "\x1b[m" } else { "" };
                        format!("\x1b[{color};1mcolor\x1b[K{reset}\r\n").repeat(n.into()).into_bytes()
                    }),
                    Just(b"\x1b[?1049h".to_vec()),
                    Just(b"\x1b[5;7H".to_vec()),
                    Just("ä漢🙂".as_bytes().to_vec()),
                ],
                0..12,
            )
        ) {
            let bytes = pieces.concat();
            let screen = screen_of(&bytes);
            let plain = plainly(&bytes);
            prop_assert_eq!(screen.parser.screen().state_formatted(), plain.screen().state_formatted());
        }

        #[test]
        fn a_repaint_shows_the_same_screen(pieces in proptest::collection::vec(piece(), 0..12), before in piece()) {
            let screen = screen_of(&pieces.concat());
            let mut other = plainly(&before);
            other.process(&screen.repaint());
            prop_assert_eq!(other.screen().contents_formatted(), screen.parser.screen().contents_formatted());
            prop_assert_eq!(other.screen().alternate_screen(), screen.parser.screen().alternate_screen());
            prop_assert_eq!(other.screen().bracketed_paste(), screen.parser.screen().bracketed_paste());
        }

        #[test]
        fn nothing_that_is_written_or_resized_breaks_the_emulator(
            steps in proptest::collection::vec((piece(), 1u16..60, 1u16..30), 0..10)
        ) {
            let mut plain = parser(SIZE, Seen::default());
            for (bytes, columns, rows) in steps {
                plain.process(&bytes);
                let (rows, columns) = cells(Size { columns, rows });
                plain.set_size(rows, columns);
                let _ = plain.screen().state_formatted();
            }
        }
    }

    #[test]
    fn a_size_holds_from_its_offset_on() {
        let mut ring = Ring::new(1000, 0);
        let mut screen = Screen::new(SIZE, 0);
        ring.push(&[b'a'; 50]);
        screen.resize(ring.end(), Size { columns: 20, rows: 10 });
        ring.push(b"\r\nnext");
        screen.catch_up(&ring);
        assert_eq!(screen.contents().lines().next().map(str::len), Some(20), "{}", screen.contents());
    }

    #[test]
    fn the_title_and_unknown_modes_are_kept() {
        let screen = screen_of(b"\x1b]0;building\x07\x1b[?1004h");
        assert_eq!(screen.title(), "building");
        assert!(String::from_utf8(screen.repaint()).unwrap().ends_with("\x1b[?1004h"));
    }
}
