//! The DNS server inside: every host name that exists gets an address of our own, by which a connection
//! is known for that name later.

use super::{address, filter::Filter};
use std::{collections::HashMap, net::Ipv4Addr};

/// How many names have an address at a time. The oldest gives way.
const NAMES: usize = 16_384;
/// For how long a program may keep an answer, in seconds.
const TTL: u32 = 60;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;

/// Which name has which address.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<String, usize>,
    by_place: Vec<String>,
    next: usize,
}

impl Names {
    /// The address that stands for a name.
    pub fn address(&mut self, name: &str) -> Ipv4Addr {
        let place = match self.by_name.get(name) {
            Some(place) => *place,
            None => {
                let place = self.next % NAMES;
                self.next = place + 1;
                if place == self.by_place.len() {
                    self.by_place.push(name.to_owned());
                } else {
                    let old = std::mem::replace(&mut self.by_place[place], name.to_owned());
                    self.by_name.remove(&old);
                }
                self.by_name.insert(name.to_owned(), place);
                place
            }
        };
        Ipv4Addr::from_bits(address::FIRST_NAME.to_bits() + place as u32)
    }

    /// The name that an address stands for.
    #[must_use]
    pub fn name(&self, ip: Ipv4Addr) -> Option<&str> {
        let place = ip.to_bits().checked_sub(address::FIRST_NAME.to_bits())?;
        self.by_place.get(place as usize).map(String::as_str)
    }
}

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in lower case, without a dot at its end.
    pub name: String,
    /// Whether it asks for an IPv4 address. Other questions about a name that exists get no record.
    pub address: bool,
    /// Where the question ends in its message.
    end: usize,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An address.
    Address(Ipv4Addr),
    /// The name exists; there is no such record of it.
    Empty,
    /// There is no such name.
    NoSuchName,
    /// It cannot be told now.
    Failed,
}

/// Reads a query. `None` is none, and gets no answer.
#[must_use]
pub fn question(message: &[u8]) -> Option<Question> {
    let short = |at: usize| message.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let query = short(2)? & 0xf800 == 0;
    if !query || short(4)? != 1 {
        return None;
    }
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => {
                let label = message.get(at..at + length)?;
                if !label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_') {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|b| b.to_ascii_lowercase() as char));
                at += length;
            }
            _ => return None,
        }
    }
    if name.len() > 253 {
        return None;
    }
    let address = short(at)? == TYPE_A && short(at + 2)? == CLASS_IN;
    Some(Question { name, address, end: at + 4 })
}

/// What the filter's way of looking up a name says.
pub async fn look_up(filter: &Filter, question: &Question, names: &std::sync::Mutex<Names>) -> Answer {
    let name = question.name.as_str();
    if name.is_empty() || name.parse::<std::net::IpAddr>().is_ok() {
        return Answer::NoSuchName;
    }
    if !filter.makes_up(name) {
        match filter.resolve(name).await {
            Ok(found) if found.is_empty() => return Answer::NoSuchName,
            Ok(_) => {}
            Err(error) if error.to_string().contains("Temporary failure") => return Answer::Failed,
            Err(_) => return Answer::NoSuchName,
        }
    }
    if question.address {
        Answer::Address(names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).address(name))
    } else {
        Answer::Empty
    }
}

/// Writes the answer to a query.
#[must_use]
pub fn reply(query: &[u8], question: &Question, answer: Answer) -> Vec<u8> {
    let mut reply = query[..question.end].to_vec();
    let code = match answer {
        Answer::Address(_) | Answer::Empty => 0,
        Answer::Failed => 2,
        Answer::NoSuchName => 3,
    };
    // A response, "recursion desired" as it was asked, "recursion available".
    reply[2] = 0x80 | (query[2] & 0x01);
    reply[3] = 0x80 | code;
    reply[6..HEADER].fill(0);
    if let Answer::Address(ip) = answer {
        reply[7] = 1;
        reply.extend([0xc0, HEADER as u8]);
        reply.extend(TYPE_A.to_be_bytes());
        reply.extend(CLASS_IN.to_be_bytes());
        reply.extend(TTL.to_be_bytes());
        reply.extend(4_u16.to_be_bytes());
        reply.extend(ip.octets());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let asked = query("Example.ORG", TYPE_A);
        let read = question(&asked).unwrap();
        assert_eq!((read.name.as_str(), read.address), ("example.org", true));
        let reply = reply(&asked, &read, Answer::Address(Ipv4Addr::new(198, 18, 1, 0)));
        assert_eq!(&reply[..HEADER], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(&reply[reply.len() - 4..], [198, 18, 1, 0]);
        assert!(!question(&query("example.org", 28)).unwrap().address);
    }

    #[test]
    fn nonsense_gets_no_answer() {
        for n in 0..40 {
            let _ = question(&vec![0xff; n]);
            let _ = question(&vec![0; n]);
        }
        let whole = query("example.org", TYPE_A);
        for n in 0..HEADER + 17 {
            assert_eq!(question(&whole[..n]), None, "{n}");
        }
        let mut pointer = query("a", TYPE_A);
        pointer[HEADER] = 0xc0;
        assert_eq!(question(&pointer), None);
        assert_eq!(question(&query("a b", TYPE_A)), None);
    }

    #[test]
    fn names_keep_their_address_until_very_many_others_came() {
        let mut names = Names::default();
        let first = names.address("a.example");
        assert_eq!(names.address("a.example"), first);
        assert_ne!(names.address("b.example"), first);
        assert_eq!(names.name(first), Some("a.example"));
        for n in 0..NAMES {
            names.address(&format!("{n}.example"));
        }
        assert_ne!(names.name(first), Some("a.example"));
        assert_eq!(names.by_name.len(), names.by_place.len());
        assert_eq!(names.name(address::INSIDE), None);
    }
}
