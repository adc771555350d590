//! Reads a log from its beginning, and then what is added.

use engine::orchestrator::LogLine;
use futures::{Stream, stream};
use std::{io::SeekFrom, path::PathBuf, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

/// How often an idle log is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Longer lines are cut into such.
const LONGEST: usize = 16 * 1024;

/// The lines of a log, for as long as the stream is held and the log exists. `dated`: each begins with
/// its time.
pub fn follow(path: PathBuf, dated: bool) -> impl Stream<Item = LogLine> + Send + 'static {
    let reader = Reader { path, dated, file: None, read: 0, rest: Vec::new() };
    stream::unfold(reader, |mut reader| async move { reader.next().await.map(|line| (line, reader)) })
}

struct Reader {
    path: PathBuf,
    dated: bool,
    file: Option<File>,
    read: u64,
    rest: Vec<u8>,
}

impl Reader {
    async fn next(&mut self) -> Option<LogLine> {
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            if let Some(end) = end.or_else(|| (self.rest.len() > LONGEST).then_some(LONGEST)) {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(self.line(&line));
            }
            if self.file.is_none() {
                self.file = Some(File::open(&self.path).await.ok()?);
            }
            let file = self.file.as_mut()?;
            let length = file.read_buf(&mut self.rest).await.ok()?;
            self.read += length as u64;
            if length == 0 {
                tokio::time::sleep(LOOK).await;
                let now = tokio::fs::metadata(&self.path).await.ok()?.len();
                if now < self.read {
                    // It was emptied.
                    file.seek(SeekFrom::Start(0)).await.ok()?;
                    self.read = 0;
                    self.rest.clear();
                }
            }
        }
    }

    fn line(&self, bytes: &[u8]) -> LogLine {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned();
        if self.dated
            && let Some((at, rest)) = text.split_once(' ')
            && let Ok(at) = at.parse()
        {
            return LogLine { at: Some(at), text: rest.to_owned() };
        }
        LogLine { at: None, text }
    }
}
