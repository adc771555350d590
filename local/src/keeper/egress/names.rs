//! The DNS server inside: every host name that exists gets an address of our own, by which a connection
//! is known for that name later.

use super::{address, filter::Filter};
use std::{collections::HashMap, net::Ipv4Addr};

/// How many names have an address at a time. The oldest gives way.
const NAMES: usize = 16_384;
/// For how long a program may keep an answer, in seconds.
const TTL: u32 = 60;
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_SVCB: u16 = 64;
const TYPE_HTTPS: u16 = 65;
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
    /// The name, in lower case, without a dot at its end. Empty: one that no host has.
    pub name: String,
    /// What is asked about it.
    pub kind: Kind,
    /// Where the question ends in its message.
    end: usize,
}

/// What this server can be asked. The machine's own way of looking up names tells of addresses alone: so nothing is known of mail
/// servers, services and texts, and that is said, rather than that there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its IPv4 address.
    Address,
    /// What a name that exists has none of here: an IPv6 address, the parameters of HTTPS.
    Nothing,
    /// The name of an address. The made-up ones have none.
    Reverse,
    /// Anything else.
    Unknown,
}

/// A message from inside.
#[derive(Debug, PartialEq, Eq)]
pub enum Query {
    /// One that can be answered.
    Question(Question),
    /// One that cannot; so much is answered at once, since who gets no answer waits for long.
    Wrong(Answer),
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
    /// Such questions are not answered here.
    NotImplemented,
    /// The query is none.
    Malformed,
}

/// Reads a message. `None` is no query, and gets no answer.
#[must_use]
pub fn query(message: &[u8]) -> Option<Query> {
    let flags = u16::from_be_bytes(message.get(2..4)?.try_into().ok()?);
    if message.len() < HEADER || flags & 0x8000 != 0 {
        return None;
    }
    if flags & 0x7800 != 0 {
        return Some(Query::Wrong(Answer::NotImplemented));
    }
    Some(question(message).map_or(Query::Wrong(Answer::Malformed), Query::Question))
}

fn question(message: &[u8]) -> Option<Question> {
    let short = |at: usize| message.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    if short(4)? != 1 {
        return None;
    }
    let (mut name, mut odd, mut at) = (String::new(), false, HEADER);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => {
                let label = message.get(at..at + length)?;
                odd |= !label.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_');
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
    // The name system allows any byte; hosts have none of these.
    if odd {
        name.clear();
    }
    let kind = match (short(at)?, short(at + 2)?) {
        (TYPE_A, CLASS_IN) => Kind::Address,
        (TYPE_AAAA | TYPE_SVCB | TYPE_HTTPS, CLASS_IN) => Kind::Nothing,
        (TYPE_PTR, CLASS_IN) => Kind::Reverse,
        _ => Kind::Unknown,
    };
    Some(Question { name, kind, end: at + 4 })
}

/// What the filter's way of looking up a name says.
pub async fn look_up(filter: &Filter, question: &Question, names: &std::sync::Mutex<Names>) -> Answer {
    let name = question.name.as_str();
    match question.kind {
        Kind::Unknown => return Answer::NotImplemented,
        Kind::Reverse => return Answer::NoSuchName,
        Kind::Address | Kind::Nothing => {}
    }
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
    if question.kind == Kind::Address {
        Answer::Address(names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).address(name))
    } else {
        Answer::Empty
    }
}

/// Writes the answer to a query; without its question where that could not be read.
#[must_use]
pub fn reply(query: &[u8], question: Option<&Question>, answer: Answer) -> Vec<u8> {
    let mut reply = query[..question.map_or(HEADER, |question| question.end)].to_vec();
    let code = match answer {
        Answer::Address(_) | Answer::Empty => 0,
        Answer::Malformed => 1,
        Answer::Failed => 2,
        Answer::NoSuchName => 3,
        Answer::NotImplemented => 4,
    };
    if question.is_none() {
        reply[4..6].fill(0);
        // The kind of query, as it was asked.
        reply[2] = 0x80 | (query[2] & 0x79);
        reply[3] = 0x80 | code;
        reply[6..HEADER].fill(0);
        return reply;
    }
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

    fn asked(name: &str, kind: u16) -> Vec<u8> {
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
        let asked_for = asked("Example.ORG", TYPE_A);
        let read = question(&asked_for).unwrap();
        assert_eq!((read.name.as_str(), read.kind), ("example.org", Kind::Address));
        let reply = reply(&asked_for, Some(&read), Answer::Address(Ipv4Addr::new(198, 18, 1, 0)));
        assert_eq!(&reply[..HEADER], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(&reply[reply.len() - 4..], [198, 18, 1, 0]);
        for (number, kind) in [
            (28, Kind::Nothing),
            (65, Kind::Nothing),
            (12, Kind::Reverse),
            (15, Kind::Unknown),
            (16, Kind::Unknown),
            (33, Kind::Unknown),
        ] {
            assert_eq!(question(&asked("example.org", number)).unwrap().kind, kind);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_answered_at_once() {
        let (filter, names) = (Filter::new(vec!["localhost:80".parse().unwrap()]), std::sync::Mutex::default());
        let answer = async |name: &str, kind| look_up(&filter, &question(&asked(name, kind)).unwrap(), &names).await;
        let known = crate::keeper::egress::MACHINE_HOST;
        assert!(matches!(answer(known, TYPE_A).await, Answer::Address(_)));
        assert_eq!(answer(known, TYPE_AAAA).await, Answer::Empty);
        assert_eq!(answer("_mongodb._tcp.example.org", 33).await, Answer::NotImplemented);
        assert_eq!(answer("1.0.18.198.in-addr.arpa", TYPE_PTR).await, Answer::NoSuchName);
        assert_eq!(answer("a b.example.org", TYPE_A).await, Answer::NoSuchName);
        let mx = asked("example.org", 15);
        let said = reply(&mx, question(&mx).as_ref(), Answer::NotImplemented);
        assert_eq!(&said[..HEADER], [0xab, 0xcd, 0x81, 0x84, 0, 1, 0, 0, 0, 0, 0, 0]);
        // A notification, two questions, and one that is cut off.
        let mut notify = asked("example.org", TYPE_A);
        notify[2] = 0x20;
        assert_eq!(query(&notify), Some(Query::Wrong(Answer::NotImplemented)));
        assert_eq!(reply(&notify, None, Answer::NotImplemented), [0xab, 0xcd, 0xa0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut two = asked("example.org", TYPE_A);
        two[5] = 2;
        assert_eq!(query(&two), Some(Query::Wrong(Answer::Malformed)));
        assert_eq!(query(&two[..20]), Some(Query::Wrong(Answer::Malformed)));
        let mut an_answer = asked("example.org", TYPE_A);
        an_answer[2] |= 0x80;
        assert_eq!(query(&an_answer), None, "answers are not answered");
    }

    #[test]
    fn nonsense_is_no_question() {
        for n in 0..40 {
            for byte in [0xff, 0] {
                let nonsense = vec![byte; n];
                if let Some(Query::Wrong(answer)) = query(&nonsense) {
                    assert_eq!(reply(&nonsense, None, answer).len(), HEADER);
                }
            }
        }
        let whole = asked("example.org", TYPE_A);
        for n in 0..HEADER + 17 {
            assert_eq!(question(&whole[..n]), None, "{n}");
        }
        let mut pointer = asked("a", TYPE_A);
        pointer[HEADER] = 0xc0;
        assert_eq!(question(&pointer), None);
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
