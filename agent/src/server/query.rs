//! The part of an address after `?`.

use std::{collections::HashMap, str::FromStr};

use http::Uri;
use percent_encoding::percent_decode_str;

use super::error::Error;

/// Decoded parameters; of one that comes twice the last counts.
pub struct Query(HashMap<String, String>);

impl Query {
    pub fn of(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        )
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether a flag is set, as `?key` or `?key=1`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// # Errors
    /// `400 Bad Request` where it is there and does not fit.
    pub fn parsed<T: FromStr>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = self.get(key).map(str::parse).transpose();
        value.map_err(|_| Error::bad_request("bad-parameter", format!("The parameter {key} does not fit.")))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
