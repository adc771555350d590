//! What git says while it works.

/// How much of git's words is kept for the cause.
const SAID: usize = 4000;

/// What git has said so far: lines end in a carriage return where the next one takes their place.
#[derive(Debug, Default)]
pub(crate) struct Said {
    lines: Vec<String>,
    open: String,
}

impl Said {
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '\n' | '\r' => self.lines.push(std::mem::take(&mut self.open)),
                c if c.is_control() => {}
                c if self.open.len() < 500 => self.open.push(c),
                _ => {}
            }
        }
        let (all, mut bytes) = (self.lines.len(), 0);
        let kept = self
            .lines
            .iter()
            .rev()
            .take_while(|line| {
                bytes += line.len() + 1;
                bytes < SAID
            })
            .count();
        self.lines.drain(..all - kept);
    }

    /// The last that was whole.
    pub(crate) fn progress(&self) -> Option<String> {
        let line = self.lines.iter().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim_start_matches("remote: ").trim().chars().take(200).collect())
    }

    /// Without the steps of progress.
    pub(crate) fn told(&self) -> String {
        let lines = self.lines.iter().chain([&self.open]).map(|line| line.trim());
        let whole = lines.filter(|line| !line.is_empty() && (!line.contains("% (") || line.ends_with("done.")));
        whole.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_last_whole_line() {
        let mut said = Said::default();
        said.hear(b"Cloning into '/home/agent/.b.cloning'...\nremote: Counting objects:  50% (1/2)\rremote: Counting obj");
        assert_eq!(said.progress().as_deref(), Some("Counting objects:  50% (1/2)"));
        said.hear(b"ects: 100% (2/2), done.\nReceiving objects:   3% (1/30)\r\x1b[K");
        assert_eq!(said.progress().as_deref(), Some("Receiving objects:   3% (1/30)"));
        for _ in 0..10_000 {
            said.hear(b"Receiving objects:   4% (1/30)\r");
        }
        assert!(said.lines.len() < 200, "what is kept has an end");
    }
}
