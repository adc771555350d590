//! Server-sent events, as the HTML standard writes them, from a stream of bytes. Pure.

/// Bytes that are not yet a whole event.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    /// Takes the next bytes and gives the data of the events that they complete, its lines joined. Comments give none. Ids are
    /// passed over: each connection begins with everything.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend(bytes.iter().filter(|b| **b != b'\r'));
        let mut messages = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            messages.extend(read(&String::from_utf8_lossy(&block)));
        }
        messages
    }
}

fn read(block: &str) -> Option<String> {
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    (!data.is_empty()).then(|| data.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = ": keep-alive\n\nid: 7\ndata: {\"a\":\"ü\"}\n\ndata:x\r\ndata: y\r\n\r\nevent: only\n\n";
        let expected = ["{\"a\":\"ü\"}", "x\ny"];
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let got: Vec<_> = text.as_bytes().chunks(cut).flat_map(|bytes| parser.feed(bytes)).collect();
            assert_eq!(got, expected, "cut at every {cut}");
        }
    }
}
