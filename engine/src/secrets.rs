//! Secrets at rest: AES-256-GCM under a key that is in no database.
//!
//! ```text
//!   sealed = key id (4 bytes) ‖ nonce (12 bytes) ‖ ciphertext and tag
//! ```
//! Associated data is the [`Place`] (table, column, row), so that a sealed value that is copied to
//! another row does not open there. A [`Vault`] has one key that seals and any number that only open,
//! for rotation. A nonce is 96 random bits: safe for some 2^32 values a key.
//!
//! Not in here: hashes of things that we never need to read again (sign-in codes, tokens): those are
//! in [`crate::store::accounts`].

use aes_gcm::{
    Aes256Gcm,
    aead::{Aead as _, KeyInit as _, Nonce, Payload},
};
use base64::{Engine as _, alphabet, engine};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt, fs, io, io::Write as _, path::Path};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// Its column.
    pub column: &'a str,
    /// Which row.
    pub row: &'a str,
}

impl Place<'_> {
    /// NUL stands in no table's name, column's name or id, so no two places share their bytes.
    fn associated_data(&self) -> Vec<u8> {
        [self.table, self.column, self.row].join("\0").into_bytes()
    }
}

/// The first four bytes of the SHA-256 of a key: names it, and tells nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; Self::BYTES]);

impl KeyId {
    /// How many bytes at the front of a sealed value are the id of its key.
    pub const BYTES: usize = 4;

    /// The id at the front of a sealed value; `None` if it is too short for one.
    #[must_use]
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        sealed.first_chunk().copied().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why keys could not be had. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes in hex or base64. Never shows the text.
    #[error(
        "An encryption key is 32 bytes, written as 64 hexadecimal digits or in base64; this one is neither. Make one with `openssl rand -hex 32`."
    )]
    Form,
    /// No key at all.
    #[error(
        "There is no encryption key in {0}. If it was emptied by mistake, restore it from a backup; nothing else opens what it sealed."
    )]
    None(String),
    /// Others may read the file.
    #[error("The encryption key in {path} may be read by others (mode {mode:o}). Run `chmod 600 {path}`.")]
    Open {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("The encryption key in {path} could not be read or made.")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a value did not open or seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Sealed with a key that this vault does not have.
    #[error("it was sealed with the encryption key {0}, which is not here")]
    UnknownKey(KeyId),
    /// Changed, cut short, or of another place.
    #[error("what was sealed does not open: it was changed, or belongs to another row")]
    Forged,
    /// Opened, and not text.
    #[error("what was sealed is not text")]
    NotText,
    /// Longer than AES-GCM takes (64 GiB).
    #[error("it is too long to be sealed")]
    TooLong,
}

/// Seals and opens. `Debug` shows key ids only.
pub struct Vault {
    seals_with: KeyId,
    keys: BTreeMap<KeyId, Aes256Gcm>,
}

impl Vault {
    /// A vault of the keys in a text: split by commas or white space, each 32 bytes in hex or base64.
    /// The first seals; the others open what was sealed before a rotation.
    ///
    /// # Errors
    /// One is not a key, or there is none.
    pub fn from_text(text: &SecretString, source: &str) -> Result<Self, KeyError> {
        let parts = text.expose_secret().split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        let keys = parts.map(parse).collect::<Result<Vec<_>, _>>()?;
        Self::from_keys(&keys).ok_or_else(|| KeyError::None(source.to_owned()))
    }

    /// The vault of a key file; a file that is not there is made, readable by its owner alone.
    ///
    /// # Errors
    /// The file cannot be read or made, others may read it, or no key is in it.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let failed = |source| KeyError::Io { path: shown(), source };
        match fs::read_to_string(path) {
            Ok(text) => {
                check_mode(path)?;
                Self::from_text(&SecretString::from(text), &shown())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path).map_err(failed)?;
                let text = fs::read_to_string(path).map_err(failed)?;
                Self::from_text(&SecretString::from(text), &shown())
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn from_keys(keys: &[[u8; KEY_BYTES]]) -> Option<Self> {
        let id = |key: &[u8; KEY_BYTES]| Sha256::digest(key).first_chunk().copied().map(KeyId);
        let seals_with = id(keys.first()?)?;
        let keys = keys.iter().filter_map(|key| Some((id(key)?, Aes256Gcm::new(key.into())))).collect();
        Some(Self { seals_with, keys })
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn seals_with(&self) -> KeyId {
        self.seals_with
    }

    /// Whether a value sealed with this key opens.
    #[must_use]
    pub fn knows(&self, key: KeyId) -> bool {
        self.keys.contains_key(&key)
    }

    /// Seals a value for a place.
    ///
    /// # Errors
    /// Only for values of over 64 GiB.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let cipher = self.keys.get(&self.seals_with).ok_or(VaultError::UnknownKey(self.seals_with))?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: &place.associated_data() };
        let body = cipher.encrypt(&Nonce::<Aes256Gcm>::from(nonce), payload).map_err(|_| VaultError::TooLong)?;
        Ok([&self.seals_with.0[..], &nonce, &body].concat())
    }

    /// Opens what was sealed for that place.
    ///
    /// # Errors
    /// The key is unknown; or the value was changed, or sealed for another place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (id, rest) = sealed.split_first_chunk().ok_or(VaultError::Forged)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Forged)?;
        let id = KeyId(*id);
        let cipher = self.keys.get(&id).ok_or(VaultError::UnknownKey(id))?;
        let payload = Payload { msg: body, aad: &place.associated_data() };
        cipher.decrypt(&Nonce::<Aes256Gcm>::from(*nonce), payload).map_err(|_| VaultError::Forged)
    }

    /// [`Self::seal`] for text.
    ///
    /// # Errors
    /// The same.
    pub fn seal_text(&self, place: Place<'_>, plain: &SecretString) -> Result<Vec<u8>, VaultError> {
        self.seal(place, plain.expose_secret().as_bytes())
    }

    /// [`Self::open`] for text.
    ///
    /// # Errors
    /// The same, or it is not text.
    pub fn open_text(&self, place: Place<'_>, sealed: &[u8]) -> Result<SecretString, VaultError> {
        String::from_utf8(self.open(place, sealed)?).map(SecretString::from).map_err(|_| VaultError::NotText)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("seals_with", &self.seals_with).field("keys", &self.keys.keys()).finish()
    }
}

fn parse(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    const LENIENT: engine::GeneralPurposeConfig =
        engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    let standard = engine::GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let url_safe = engine::GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let decoded = match hex::decode(text) {
        Ok(key) if key.len() == KEY_BYTES => Some(key),
        _ => standard.decode(text).or_else(|_| url_safe.decode(text)).ok(),
    };
    decoded.and_then(|key| key.try_into().ok()).ok_or(KeyError::Form)
}

/// Makes the file whole or not at all, and never over one that is there: a link fails where a name is
/// taken, and a process that dies half way leaves only the temporary file.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let key: [u8; KEY_BYTES] = rand::random();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", hex::encode(rand::random::<[u8; 4]>())));
    let fresh = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let linked =
        writeln!(file, "{}", hex::encode(key)).and_then(|()| file.sync_all()).and_then(|()| match fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    fs::remove_file(&fresh)?;
    linked?;
    path.parent()
        .map_or(Ok(()), |folder| fs::File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all())
}

fn check_mode(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = path.display().to_string();
    let mode = fs::metadata(path).map_err(|source| KeyError::Io { path: shown.clone(), source })?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Open { path: shown, mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const HERE: Place<'_> = Place { table: "databases", column: "password", row: "1" };

    fn text(parts: &[&str]) -> SecretString {
        SecretString::from(parts.join(","))
    }

    fn old() -> String {
        "11".repeat(32)
    }

    fn new() -> String {
        "22".repeat(32)
    }

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("fsa-secrets-{}", hex::encode(rand::random::<[u8; 8]>())));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_alone() {
        let vault = Vault::from_text(&text(&[&old()]), "test").unwrap();
        let sealed = vault.seal_text(HERE, &SecretString::from("hunter2")).unwrap();
        assert_eq!(vault.open_text(HERE, &sealed).unwrap().expose_secret(), "hunter2");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        for elsewhere in [
            Place { row: "2", ..HERE },
            Place { column: "name", ..HERE },
            Place { table: "sandboxes", ..HERE },
            Place { table: "database", column: "s\0password", row: "1" },
        ] {
            assert_eq!(vault.open(elsewhere, &sealed), Err(VaultError::Forged), "{elsewhere:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let vault = Vault::from_text(&text(&[&old()]), "test").unwrap();
        let sealed = vault.seal(HERE, b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(HERE, &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(vault.open(HERE, &sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn the_same_value_is_never_sealed_the_same() {
        let vault = Vault::from_text(&text(&[&old()]), "test").unwrap();
        assert_ne!(vault.seal(HERE, b"secret").unwrap(), vault.seal(HERE, b"secret").unwrap());
    }

    #[test]
    fn an_older_key_opens_and_the_newest_seals() {
        let before = Vault::from_text(&text(&[&old()]), "test").unwrap();
        let sealed = before.seal(HERE, b"secret").unwrap();
        let after = Vault::from_text(&text(&[&new(), &old()]), "test").unwrap();
        assert_eq!(after.open(HERE, &sealed).unwrap(), b"secret");
        let resealed = after.seal(HERE, b"secret").unwrap();
        assert_eq!(KeyId::of_sealed(&resealed), Some(after.seals_with()));
        assert_eq!(before.open(HERE, &resealed), Err(VaultError::UnknownKey(after.seals_with())));
    }

    #[test]
    fn a_key_is_hex_or_base64() {
        let key = [0xfb; 32];
        let standard = engine::general_purpose::STANDARD.encode(key);
        let url_safe = engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
        for written in [hex::encode(key), hex::encode_upper(key), standard, url_safe] {
            assert_eq!(parse(&written).unwrap(), key, "{written}");
        }
        for wrong in ["", "short", &"11".repeat(31), &"11".repeat(33), &"zz".repeat(32)] {
            assert!(matches!(parse(wrong), Err(KeyError::Form)), "{wrong}");
        }
        assert!(matches!(Vault::from_text(&text(&[" "]), "test"), Err(KeyError::None(_))));
    }

    #[test]
    fn debug_and_errors_hide_the_key() {
        let vault = Vault::from_text(&text(&[&old()]), "test").unwrap();
        assert!(!format!("{vault:?}").contains("1111"));
        let error = Vault::from_text(&text(&["hunter2"]), "test").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_alone() {
        let folder = folder();
        let path = folder.join("encryption.key");
        let first = Vault::from_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
        let again = Vault::from_file(&path).unwrap();
        assert_eq!(first.seals_with(), again.seals_with());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::from_file(&path), Err(KeyError::Open { mode: 0o640, .. })));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_emptied_key_file_is_not_replaced() {
        let folder = folder();
        let path = folder.join("encryption.key");
        Vault::from_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(Vault::from_file(&path), Err(KeyError::None(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn two_first_starts_at_once_agree_on_one_key() {
        let folder = folder();
        let path = folder.join("encryption.key");
        let ids: Vec<KeyId> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| Vault::from_file(&path).unwrap().seals_with())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        fs::remove_dir_all(folder).unwrap();
    }
}
