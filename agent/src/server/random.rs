//! Ids that nobody guesses.

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits in hexadecimal.
pub fn id() -> String {
    let mut bytes = [0; 16];
    // Only a kernel from before 2014 fails here; ids need to differ, and then time does.
    if getrandom(&mut bytes[..], GetRandomFlags::empty()).is_err() {
        bytes =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
