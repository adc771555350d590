//! What sqlx's macros do not see by themselves.

fn main() {
    // A migration was added.
    println!("cargo:rerun-if-changed=../migrations");
    // Queries are checked against the committed `.sqlx`, not against whatever database an exported
    // DATABASE_URL names: inside one of our own sandboxes it is the user's. `cargo xtask sqlx` says
    // otherwise, and the release is not compiled anew for that: what is said here is of builds that know nothing of the
    // variable, since `.cargo/config.toml` sets it for all others.
    if std::env::var_os("SQLX_OFFLINE").is_none() {
        println!("cargo:rustc-env=SQLX_OFFLINE=true");
    }
}
