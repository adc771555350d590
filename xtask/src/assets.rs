//! The site: every file under a name that has its content's hash in it, with brotli and gzip beside
//! it, and a manifest that says which is which.

use crate::{
    setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Makes `site/manifest.json` and `site/pkg/…` out of the compiled module, the terminal's scripts
/// and the styles.
pub fn make(module: &Path, site: &Path) -> Result<PathBuf> {
    let work = shell::target().join("site-work");
    fs::create_dir_all(&work)?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    browser_code(module, &work, &mut files)?;
    scripts_and_styles(&work, &mut files)?;
    let icons = shell::root().join("style/icons.svg");
    files.insert("icons.svg".to_owned(), fs::read(&icons).context("read style/icons.svg")?);
    publish(files, site)?;
    Ok(site.to_owned())
}

/// `wasm-bindgen`, then `wasm-opt`: skipped while the module is the same.
fn browser_code(module: &Path, work: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let hash = hash(&fs::read(module).context("read the compiled module")?);
    let (js, wasm, stamp) = (work.join("frontend.js"), work.join("frontend_bg.wasm"), work.join("module.stamp"));
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == hash) || !js.is_file() || !wasm.is_file() {
        let raw = work.join("raw");
        Cmd::new(setup::wasm_bindgen()?)
            .args(["--target", "web", "--no-typescript", "--out-name", "frontend", "--out-dir"])
            .args([&raw])
            .args([module])
            .run()?;
        say("Making the browser's code small");
        Cmd::new(js_tool("wasm-opt"))
            .args([
                "-Oz",
                "--enable-bulk-memory",
                "--enable-nontrapping-float-to-int",
                "--enable-sign-ext",
                "--enable-mutable-globals",
                "--enable-reference-types",
                "--enable-multivalue",
                "-o",
            ])
            .args([&wasm])
            .args([raw.join("frontend_bg.wasm")])
            .run()?;
        fs::copy(raw.join("frontend.js"), &js)?;
        let minified = Cmd::new(js_tool("esbuild")).args([&js]).args(["--minify", "--format=esm", "--log-level=error"]).read()?;
        fs::write(&js, minified)?;
        fs::write(&stamp, hash)?;
    }
    files.insert("frontend.js".to_owned(), fs::read(js)?);
    files.insert("frontend_bg.wasm".to_owned(), fs::read(wasm)?);
    Ok(())
}

fn scripts_and_styles(work: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let root = shell::root();
    let out = work.join("js");
    let _ = fs::remove_dir_all(&out);
    Cmd::new(js_tool("esbuild"))
        .args([
            "terminal.ts",
            "--bundle",
            "--minify",
            "--format=esm",
            "--splitting",
            "--target=es2022",
            "--log-level=error",
            "--entry-names=[name]",
            "--chunk-names=[name].[hash]",
        ])
        .args([format!("--outdir={}", out.display())])
        .dir(&root.join("frontend/js"))
        .run()?;
    Cmd::new(js_tool("esbuild"))
        .args([root.join("style/main.css")])
        .args(["--bundle", "--minify", "--log-level=error", "--external:*.svg"])
        .args([format!("--outfile={}", out.join("main.css").display())])
        .run()?;
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, fs::read(&path)?);
    }
    Ok(())
}

/// A program of the terminal's npm packages.
fn js_tool(name: &str) -> PathBuf {
    shell::root().join("frontend/js/node_modules/.bin").join(name)
}

/// Chunks keep their names, which have a hash already: scripts import them by it.
fn published_name(name: &str, content: &[u8]) -> String {
    match name.rsplit_once('.') {
        Some((stem, _)) if stem.contains('.') => name.to_owned(),
        Some((stem, end)) => format!("{stem}.{}.{end}", hash(content).get(..12).unwrap_or_default()),
        None => name.to_owned(),
    }
}

fn publish(files: BTreeMap<String, Vec<u8>>, site: &Path) -> Result<()> {
    let folder = site.join("pkg");
    fs::create_dir_all(&folder)?;
    let mut manifest = BTreeMap::new();
    let mut kept = Vec::new();
    for (name, content) in files {
        let published = published_name(&name, &content);
        let path = folder.join(&published);
        if !path.is_file() || !with_end(&path, "br").is_file() {
            fs::write(with_end(&path, "gz"), gzip(&content)?)?;
            fs::write(with_end(&path, "br"), brotli(&content)?)?;
            fs::write(&path, &content)?;
        }
        kept.extend([published.clone(), format!("{published}.br"), format!("{published}.gz")]);
        manifest.insert(name, published);
    }
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if !kept.contains(&entry.file_name().to_string_lossy().into_owned()) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::write(site.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

fn hash(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// Quality 11: made once, sent a thousand times.
pub fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &content[..], &mut out, &params)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_hash_once() {
        assert_eq!(published_name("chunk.ABC123.js", b"x"), "chunk.ABC123.js");
        assert!(published_name("main.css", b"x").starts_with("main.2d711642b726."));
        assert_ne!(published_name("main.css", b"x"), published_name("main.css", b"y"));
    }
}
