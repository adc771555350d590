//! The site: every file under a name that has its content's hash in it, with brotli and gzip beside
//! it, and a manifest that says which is which.
//!
//! ```text
//!   site/manifest.json              {"main.css": "main.2d711642b726.css", …}
//!   site/pkg/main.2d711642b726.css  and .br and .gz of it
//! ```
//!
//! A name never gets another content, so all of `pkg/` may be kept for ever by those who fetch it.

use crate::{
    setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// Compresses files: by Node, since brotli at its best is slow in a program compiled without
/// optimization, which this one is.
const COMPRESS: &str = include_str!("compress.mjs");

/// What is served compressed; pictures and fonts are already.
const COMPRESSIBLE: [&str; 6] = ["css", "html", "js", "json", "svg", "wasm"];

/// Makes `site/manifest.json` and `site/pkg/…` out of the compiled module, the terminal's scripts
/// and the styles.
pub fn make(module: &Path, site: &Path) -> Result<()> {
    let work = shell::target().join("site-work");
    fs::create_dir_all(&work)?;
    let mut files = Files::new();
    browser_code(module, &work, &mut files)?;
    terminal(&work, &mut files)?;
    styles(&work, &mut files)?;
    publish(files, site)
}

/// What one file of the site weighs.
pub struct Size {
    /// Its name in the manifest.
    pub name: String,
    pub bytes: u64,
    /// As most browsers get it. Of what is not compressed: the same as `bytes`.
    pub brotli_bytes: u64,
}

/// What the site's files weigh, by name.
pub fn sizes(site: &Path) -> Result<Vec<Size>> {
    let manifest: BTreeMap<String, String> = serde_json::from_slice(&fs::read(site.join("manifest.json"))?)?;
    let size = |(name, published): (String, String)| {
        let path = site.join("pkg").join(published);
        let bytes = fs::metadata(&path).with_context(|| format!("find {}", path.display()))?.len();
        let brotli_bytes = fs::metadata(with_end(&path, "br")).map_or(bytes, |about| about.len());
        Ok(Size { name, bytes, brotli_bytes })
    };
    manifest.into_iter().map(size).collect()
}

/// Contents by the name that code knows them by.
type Files = BTreeMap<String, Asset>;

struct Asset {
    content: Vec<u8>,
    /// Other files of the site name it as it is, by a hash that its maker put there.
    keeps_its_name: bool,
}

/// `wasm-bindgen`, then `wasm-opt`: skipped while the module and the tools are the same.
fn browser_code(module: &Path, work: &Path, files: &mut Files) -> Result<()> {
    let bindgen = setup::wasm_bindgen()?;
    let version = Cmd::new(&bindgen).args(["--version"]).read()?;
    let tools = fs::read(shell::root().join("frontend/js/package-lock.json")).context("read the lock file of frontend/js")?;
    let code = fs::read(module).context("read the compiled module")?;
    let hash = hash([code.as_slice(), &tools, version.as_bytes(), include_bytes!("assets.rs")]);
    let (js, wasm, stamp) = (work.join("frontend.js"), work.join("frontend_bg.wasm"), work.join("module.stamp"));
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == hash) || !js.is_file() || !wasm.is_file() {
        say("Making the browser's code small");
        let raw = work.join("raw");
        // No default path: the page names the module, by its hash.
        Cmd::new(&bindgen)
            .args(["--target", "web", "--no-typescript", "--omit-default-module-path"])
            .args(["--remove-producers-section", "--out-name", "frontend", "--out-dir"])
            .args([raw.as_path(), module])
            .run()?;
        Cmd::new(tool("wasm-opt")).args(WASM_OPT).args([&wasm]).args([raw.join("frontend_bg.wasm")]).run()?;
        // Bundled, since the crates may bring scripts of their own that it imports.
        let bundle = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"];
        Cmd::new(tool("esbuild")).args(bundle).args([raw.join("frontend.js")]).args([outfile(&js)]).run()?;
        fs::write(&stamp, hash)?;
    }
    files.insert("frontend.js".to_owned(), read(&js)?);
    files.insert("frontend_bg.wasm".to_owned(), read(&wasm)?);
    Ok(())
}

/// Twice, since the first round shows the second what has no effect. Functions with one caller stay
/// functions: pasted into it they compress worse, by 6 % of the whole. Ordered by name, copies of one
/// function for several types stand side by side, which is another 0.7 %. The features are those that
/// Rust's target has by default: every browser since 2022.
const WASM_OPT: [&str; 13] = [
    "--generate-global-effects",
    "-Oz",
    "--generate-global-effects",
    "-Oz",
    "--reorder-functions-by-name",
    "--one-caller-inline-max-function-size=20",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "-o",
];

/// `terminal.js`, `terminal.css`, `log.js`, `doctor.js`, `elements.js`, `github.js`, `activity.js` and the chunks that they load when they are wanted.
fn terminal(work: &Path, files: &mut Files) -> Result<()> {
    let out = work.join("js");
    let _ = fs::remove_dir_all(&out);
    Cmd::new("node").args(["build.mjs".as_ref(), out.as_path()]).dir(&shell::root().join("frontend/js")).run()?;
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        let name = file_name(&path);
        let entry_point = matches!(
            name.as_str(),
            "terminal.js" | "terminal.css" | "log.js" | "doctor.js" | "elements.js" | "github.js" | "activity.js"
        );
        files.insert(name, Asset { keeps_its_name: !entry_point, ..read(&path)? });
    }
    Ok(())
}

/// `main.css`, all its imports in it, and whatever else lies in `style/`.
fn styles(work: &Path, files: &mut Files) -> Result<()> {
    let style = shell::root().join("style");
    let out = work.join("main.css");
    // A browser drops a whole rule for one slip in its selector, and says nothing.
    let strict = "--log-override:css-syntax-error=error";
    let bundle = ["--bundle", "--minify", "--target=es2022", "--log-level=warning", "--external:*.svg", strict];
    Cmd::new(tool("esbuild")).args(bundle).args([style.join("main.css")]).args([outfile(&out)]).run()?;
    files.insert("main.css".to_owned(), read(&out)?);
    for entry in fs::read_dir(&style)? {
        let path = entry?.path();
        if path.is_file() && !path.extension().is_some_and(|end| end == "css" || end == "md") {
            files.insert(file_name(&path), read(&path)?);
        }
    }
    Ok(())
}

/// A program of the terminal's npm packages.
fn tool(name: &str) -> PathBuf {
    shell::root().join("frontend/js/node_modules/.bin").join(name)
}

fn outfile(path: &Path) -> String {
    format!("--outfile={}", path.display())
}

/// The manifest comes last, and what no manifest names any more goes after it: whoever reads it finds all it names.
fn publish(files: Files, site: &Path) -> Result<()> {
    let folder = site.join("pkg");
    fs::create_dir_all(&folder)?;
    let (mut manifest, mut kept, mut uncompressed) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (name, asset) in files {
        let published = if asset.keeps_its_name { name.clone() } else { published_name(&name, &asset.content) };
        let path = folder.join(&published);
        if !path.is_file() {
            shell::write(&path, &asset.content)?;
        }
        kept.push(path.clone());
        if path.extension().and_then(OsStr::to_str).is_some_and(|end| COMPRESSIBLE.contains(&end)) {
            let compressed = [with_end(&path, "br"), with_end(&path, "gz")];
            if !compressed.iter().all(|path| path.is_file()) {
                uncompressed.push(path);
            }
            kept.extend(compressed);
        }
        manifest.insert(name, published);
    }
    if !uncompressed.is_empty() {
        Cmd::new("node").args(["--input-type=module", "--eval", COMPRESS, "--"]).args(uncompressed).run()?;
    }
    shell::write(&site.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// `main.css` with this content is `main.2d711642b726.css`.
fn published_name(name: &str, content: &[u8]) -> String {
    let hash = hash([content]);
    let hash = hash.get(..12).unwrap_or_default();
    match name.rsplit_once('.') {
        Some((stem, end)) => format!("{stem}.{hash}.{end}"),
        None => format!("{name}.{hash}"),
    }
}

fn read(path: &Path) -> Result<Asset> {
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Asset { content, keeps_its_name: false })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_changes_with_its_content_and_only_then() {
        assert_eq!(published_name("main.css", b"x"), "main.2d711642b726.css");
        assert_eq!(published_name("frontend_bg.wasm", b"x"), "frontend_bg.2d711642b726.wasm");
        assert_ne!(published_name("main.css", b"x"), published_name("main.css", b"y"));
    }

    #[test]
    fn a_second_site_in_the_same_place_leaves_nothing_of_the_first() {
        let site = std::env::temp_dir().join(format!("fsa-xtask-site-{}", std::process::id()));
        let of = |content: &[u8]| Asset { content: content.to_vec(), keeps_its_name: false };
        publish(Files::from([("a.css".to_owned(), of(b"first")), ("picture.png".to_owned(), of(b"same"))]), &site).unwrap();
        publish(Files::from([("a.css".to_owned(), of(b"second")), ("picture.png".to_owned(), of(b"same"))]), &site).unwrap();
        let sizes = sizes(&site).unwrap();
        assert_eq!(
            sizes.iter().map(|size| (size.name.as_str(), size.bytes)).collect::<Vec<_>>(),
            [("a.css", 6), ("picture.png", 4)]
        );
        let css = published_name("a.css", b"second");
        let mut there: Vec<String> =
            fs::read_dir(site.join("pkg")).unwrap().map(|entry| file_name(&entry.unwrap().path())).collect();
        there.sort();
        let mut wanted = vec![css.clone(), format!("{css}.br"), format!("{css}.gz"), published_name("picture.png", b"same")];
        wanted.sort();
        assert_eq!(there, wanted);
        fs::remove_dir_all(&site).unwrap();
    }
}
