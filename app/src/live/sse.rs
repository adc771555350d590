//! Server-sent events, as the HTML standard writes them, from a stream of bytes. Pure.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The last id that was sent, for `Last-Event-ID`.
    pub id: Option<String>,
    /// Its lines, joined.
    pub data: String,
}

/// Bytes that are not yet a whole event.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    id: Option<String>,
}

impl Parser {
    /// Takes the next bytes and gives the events that they complete. Comments give none.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend(bytes.iter().filter(|b| **b != b'\r'));
        let mut messages = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            messages.extend(self.read(&String::from_utf8_lossy(&block)));
        }
        messages
    }

    fn read(&mut self, block: &str) -> Option<Message> {
        let mut data: Vec<&str> = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data.push(value),
                "id" => self.id = Some(value.to_owned()),
                _ => {}
            }
        }
        (!data.is_empty()).then(|| Message { id: self.id.clone(), data: data.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = ": keep-alive\n\nid: 7\ndata: {\"a\":\"ü\"}\n\ndata:x\r\ndata: y\r\n\r\nevent: only\n\n";
        let expected = vec![
            Message { id: Some("7".into()), data: "{\"a\":\"ü\"}".into() },
            Message { id: Some("7".into()), data: "x\ny".into() },
        ];
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let got: Vec<_> = text.as_bytes().chunks(cut).flat_map(|bytes| parser.feed(bytes)).collect();
            assert_eq!(got, expected, "cut at every {cut}");
        }
    }
}
