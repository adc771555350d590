//! Who asks: tokens, sessions, Claude credentials, the GitHub account.

use super::{
    Body, Operation, body, operation,
    parameters::{key, pages, query, text},
};
use crate::{
    control::{claude::ClaudeView, sessions::SessionView},
    github::repositories,
    http::{
        auth::sign_in::{SignIn, SignOut, SignedInAs},
        github as linked,
        openapi::{Described, many, one, plain},
        rest,
    },
};
use http::Method;
use model::view::{NewToken, TokenView};
use serde_json::json;

pub(super) fn account() -> Vec<Operation> {
    vec![
        operation(Method::GET, "/api/me", "getMe", "Account", "Say who is signed in, and what they may").json(
            200,
            "Who.",
            one::<rest::tokens::Myself>,
            None,
        ),
        operation(Method::GET, "/api/tokens", "listTokens", "Account", "List API tokens, newest first").parameters(pages()).json(
            200,
            "The tokens, without their secrets.",
            many::<TokenView>,
            None,
        ),
        operation(Method::POST, "/api/tokens", "createToken", "Account", "Make an API token")
            .about(
                "Where a token asks, the new one expires when that one does, or earlier if `days` says so, is of its scope at most, and \
                 is revoked with it; `madeBy` names it.",
            )
            .parameters([key()])
            .body(|| body(one::<rest::tokens::New>(), true, json!({ "name": "ci", "scope": "write", "days": 90 })))
            .json(201, "The token, with its secret: it is shown this once.", one::<NewToken>, None)
            .refusals(&[("409", "A token was made by that `Idempotency-Key` before; its secret is kept nowhere. The sentence names it, to be revoked.")]),
        operation(Method::DELETE, "/api/tokens/{token}", "revokeToken", "Account", "Revoke an API token").answer(
            204,
            "What it opened ends within a second; the tokens that it made are revoked with it.",
            vec![],
        ),
        operation(Method::GET, "/api/sessions", "listSessions", "Account", "Say where the user is signed in").parameters(pages()).json(
            200,
            "The session that asks first, then the newest.",
            many::<SessionView>,
            None,
        ),
        operation(Method::DELETE, "/api/sessions", "endOtherSessions", "Account", "Sign out everywhere else")
            .json(200, "How many were ended. What they opened ends within a second.", one::<rest::sessions::Ended>, None)
            .refusals(&[("409", "A token asks, which is no session.")]),
        operation(Method::DELETE, "/api/sessions/{session}", "endSession", "Account", "End one session").answer(
            204,
            "What it opened ends within a second.",
            vec![],
        ),
        operation(Method::GET, "/api/claude", "getClaude", "Account", "Say which Claude credentials the user's sandboxes get")
            .about("The key or token itself is never answered.")
            .json(200, "The user's own, and whether there are the operator's.", one::<ClaudeView>, None),
        operation(Method::PUT, "/api/claude", "setClaude", "Account", "Set Claude credentials of one's own")
            .about(
                "A key or a token, and where it is sent; in place of those that there are. They win over the operator's as a whole, and a \
                 project's variables win over them. What runs keeps what it was started with until it is restarted.",
            )
            .body(|| body(one::<rest::claude::Put>(), true, json!({ "kind": "apiKey", "value": "sk-ant-…" })))
            .json(200, "What is set now, and whose sandboxes wait for a restart.", one::<ClaudeView>, None),
        operation(Method::DELETE, "/api/claude", "removeClaude", "Account", "Remove one's own Claude credentials")
            .about("What runs keeps them until it is restarted. Where there are none, nothing happens.")
            .json(200, "What sandboxes get from now on.", one::<ClaudeView>, None),
        operation(Method::POST, "/api/sign-in", "signIn", "Account", "Sign in by the code of a link")
            .body(|| body(one::<SignIn>(), true, json!({ "code": "…" })))
            .json(200, "Signed in: the cookie is set.", one::<SignedInAs>, None)
            .refusals(&[("401", "The code was never made."), ("410", "The code was used, or is too old.")]),
        operation(Method::POST, "/api/sign-out", "signOut", "Account", "Sign out")
            .body(|| body(one::<SignOut>(), false, json!({ "everywhere": false })))
            .answer(204, "The session is over everywhere.", vec![]),
    ]
}

pub(super) fn github() -> Vec<Operation> {
    const AWAY: &[(&str, &str)] = &[
        ("409", "No account is connected, or its access was revoked."),
        ("502", "GitHub answered with an error."),
        ("504", "GitHub did not answer in time."),
    ];
    let begin: fn() -> Option<Body> = || body(one::<linked::Begin>(), true, json!({ "next": "/" }));
    let address: fn() -> Described = || plain(json!({ "type": "object", "required": ["url"], "properties": { "url": text() } }));
    let off: &'static [(&'static str, &'static str)] = &[("404", "This installation is not set up for it.")];
    vec![
        operation(Method::POST, "/api/github/sign-in", "beginGitHubSignIn", "GitHub", "Begin a sign-in by GitHub")
            .about("The answer sets a cookie: only the browser that has it can come back.")
            .body(begin)
            .json(200, "The page of GitHub's to go to.", address, None)
            .refusals(off),
        operation(Method::POST, "/api/github/connect", "connectGitHub", "GitHub", "Begin to connect a GitHub account")
            .body(begin)
            .json(200, "The page of GitHub's to go to.", address, None)
            .refusals(off),
        operation(Method::GET, "/api/github", "getGitHub", "GitHub", "Say which account is connected").json(
            200,
            "What is known.",
            one::<linked::GitHubView>,
            None,
        ),
        operation(Method::DELETE, "/api/github", "disconnectGitHub", "GitHub", "Disconnect it, here and at GitHub")
            .answer(204, "It is disconnected.", vec![])
            .refusals(&[("404", "None is connected."), ("409", "It is the only way in.")]),
        operation(
            Method::GET,
            "/api/github/repositories",
            "listRepositories",
            "GitHub",
            "List the account's repositories, pushed to last first",
        )
        .parameters([
            query("search", "Words of the name.", text()),
            query("page", "From 1.", json!({ "type": "integer", "minimum": 1, "default": 1 })),
        ])
        .json(200, "A page of them.", one::<repositories::Page>, None)
        .refusals(AWAY),
    ]
}
