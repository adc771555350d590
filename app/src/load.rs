//! What pages are loaded with: one resource type for all, so that the browser's code has one.

use crate::{api, error::ControlError};
use codee::{Decoder, Encoder};
use leptos::prelude::*;
use model::{
    ProjectId, Timestamp,
    view::{EnvView, Installation, ProjectView, TokenView, Viewer},
};
use serde::{Deserialize, Serialize};

/// What a page can be loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The address names nothing.
    Nothing,
    /// What every page opens with.
    Opening,
    /// A project's variables.
    Env(ProjectId),
    /// The viewer's API tokens.
    Tokens,
}

/// The same, loaded.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and most often the largest")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loaded {
    /// There was nothing to load.
    Nothing,
    /// What every page opens with.
    Opening(Opening),
    /// A project's variables.
    Env(EnvView),
    /// The viewer's API tokens.
    Tokens(Vec<TokenView>),
}

/// What every page opens with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The server's clock when it was read.
    #[serde(with = "model::time")]
    pub now: Timestamp,
    /// Who is signed in, if anyone.
    pub viewer: Option<Viewer>,
    /// To someone who is not signed in, only what the sign-in page says.
    pub installation: Installation,
    /// Newest first.
    pub projects: Vec<ProjectView>,
}

/// What came of it.
pub type Answer = Result<Loaded, ControlError>;

/// Something that is loading or loaded: on the server before the page is sent, in the browser after a
/// move to another page.
pub type Load = Resource<Answer, Json>;

/// Loads what `what` says, and again when it says something else.
#[must_use]
pub fn load(what: Signal<What>) -> Load {
    Resource::new_with_options(move || what.get(), api::load, true)
}

/// JSON, read from bytes as server functions read it: one reader is half the code of two. Written by
/// the server alone.
pub struct Json;

impl<T: Serialize> Encoder<T> for Json {
    type Error = serde_json::Error;
    type Encoded = String;

    fn encode(value: &T) -> Result<String, Self::Error> {
        #[cfg(feature = "ssr")]
        return serde_json::to_string(value);
        #[cfg(not(feature = "ssr"))]
        {
            let _ = value;
            Ok(String::new())
        }
    }
}

impl<T: serde::de::DeserializeOwned> Decoder<T> for Json {
    type Error = serde_json::Error;
    type Encoded = str;

    fn decode(text: &str) -> Result<T, Self::Error> {
        serde_json::from_slice(text.as_bytes())
    }
}
