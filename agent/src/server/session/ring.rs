//! The last output of a session, by absolute offset.

/// A ring of bytes that knows how many bytes ever went through it.
///
/// Memory grows with use up to the capacity and no further.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    capacity: usize,
    /// Offset of the byte that stands, or stood, first in `bytes`.
    base: u64,
    end: u64,
}

impl Ring {
    /// An empty ring whose next byte has the offset `base`.
    pub fn new(capacity: usize, base: u64) -> Self {
        Self { bytes: Vec::new(), capacity, base, end: base }
    }

    /// Offset of the oldest byte that is still here.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Offset of the next byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn push(&mut self, mut data: &[u8]) {
        if data.len() > self.capacity {
            // What would be overwritten at once never goes in.
            let dropped = data.len() - self.capacity;
            self.bytes.clear();
            self.end += dropped as u64;
            self.base = self.end;
            data = &data[dropped..];
        }
        let room = self.capacity - self.bytes.len();
        let (grow, wrap) = data.split_at(room.min(data.len()));
        if !grow.is_empty() {
            self.reserve(grow.len());
            self.bytes.extend_from_slice(grow);
            self.end += grow.len() as u64;
        }
        if !wrap.is_empty() {
            let at = self.index(self.end);
            let first = wrap.len().min(self.capacity - at);
            self.bytes[at..at + first].copy_from_slice(&wrap[..first]);
            self.bytes[..wrap.len() - first].copy_from_slice(&wrap[first..]);
            self.end += wrap.len() as u64;
        }
    }

    /// At most `limit` bytes from `offset`, in two pieces where the ring wraps. Empty where `offset` is not in the ring.
    pub fn read(&self, offset: u64, limit: usize) -> (&[u8], &[u8]) {
        if offset < self.start() || offset >= self.end {
            return (&[], &[]);
        }
        let length = usize::try_from(self.end - offset).unwrap_or(usize::MAX).min(limit);
        let at = self.index(offset);
        let first = length.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..length - first])
    }

    /// The first offset at or after `offset` that begins a line, or `offset` where no line ends within the ring.
    pub fn line_start(&self, offset: u64) -> u64 {
        let (first, second) = self.read(offset, usize::MAX);
        let newline = first.iter().chain(second).position(|byte| *byte == b'\n');
        newline.map_or(offset, |at| offset + at as u64 + 1)
    }

    fn index(&self, offset: u64) -> usize {
        ((offset - self.base) % self.capacity as u64) as usize
    }

    /// Doubles, but never past the capacity, which `Vec` alone would.
    fn reserve(&mut self, more: usize) {
        let wanted = self.bytes.len() + more;
        if wanted > self.bytes.capacity() {
            let next = wanted.max(self.bytes.capacity() * 2).min(self.capacity);
            self.bytes.reserve_exact(next - self.bytes.len());
        }
    }
}

/// What holds of any writes and reads: the ring is the tail of a plain vector of everything ever written.
#[cfg(any(test, fuzzing))]
pub fn holds<'a>(capacity: usize, base: u64, writes: impl IntoIterator<Item = &'a [u8]>, offset: u64, limit: usize) {
    let mut ring = Ring::new(capacity, base);
    let mut all = Vec::new();
    for write in writes {
        ring.push(write);
        all.extend(write);
        let end = base + all.len() as u64;
        assert_eq!(ring.end(), end);
        assert_eq!(ring.start(), end - all.len().min(capacity) as u64);
        let (first, second) = ring.read(offset, limit);
        let got = [first, second].concat();
        let expected: &[u8] = if offset >= ring.start() && offset < end {
            let at = (offset - base) as usize;
            &all[at..at.saturating_add(limit).min(all.len())]
        } else {
            &[]
        };
        assert_eq!(got, expected);
        assert!(ring.bytes.capacity() <= capacity);
        let line = ring.line_start(ring.start());
        assert!(line == ring.start() || all[(line - base) as usize - 1] == b'\n');
    }
}

/// The same of a story as fuzzing tells it: how much the ring holds, where it begins, from where and how much is read, then each
/// write after its length.
#[cfg(any(test, fuzzing))]
pub fn holds_of(story: &[u8]) {
    let Some((head, mut rest)) = story.split_first_chunk::<7>() else { return };
    let two = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let (base, offset) = (u64::from(two(1) % 1_001), u64::from(two(3) % 2_001));
    let limit = if two(5) == u16::MAX { usize::MAX } else { usize::from(two(5)) };
    let mut writes = Vec::new();
    while let Some((length, more)) = rest.split_first() {
        let (write, after) = more.split_at(usize::from(*length).min(more.len()));
        writes.push(write);
        rest = after;
    }
    holds(usize::from(head[0] % 64) + 1, base, writes, offset, limit);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// No usual run compiles the fuzz target: it is here that it still calls this, and what it begins with.
    #[test]
    fn what_fuzzing_begins_with_holds() {
        let target = std::fs::read_to_string("../fuzz/src/bin/ring.rs").unwrap();
        assert!(target.contains(std::any::type_name_of_val(&holds_of)), "{target}");
        for seed in std::fs::read_dir("../fuzz/seeds/ring").unwrap() {
            holds_of(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn the_ring_is_the_tail_of_all_that_was_written(
            capacity in 1usize..64,
            base in 0u64..1000,
            writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..20),
            offset in 0u64..2000,
            limit in 0usize..100,
        ) {
            holds(capacity, base, writes.iter().map(Vec::as_slice), offset, limit);
        }
    }

    #[test]
    fn a_line_starts_after_a_newline() {
        let mut ring = Ring::new(16, 0);
        ring.push(b"ab\ncd");
        assert_eq!(ring.line_start(0), 3);
        assert_eq!(ring.line_start(3), 3);
    }
}
