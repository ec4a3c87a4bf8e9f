//! The page's files, as they are in the binary.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use axum::{
    extract::{OriginalUri, Path, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
};
use sha2::{Digest, Sha256};

use crate::manage;

/// The files by their names.
pub(super) struct Files(HashMap<&'static str, File>);

struct File {
    content_type: HeaderValue,
    tag: HeaderValue,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("static/", $name)) as &'static [u8])),*]
    };
}

impl Files {
    pub(super) fn new() -> Self {
        let file = |(name, bytes): (&'static str, &'static [u8])| {
            let content_type = match name.rsplit('.').next() {
                Some("js") => "text/javascript; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                _ => "application/octet-stream",
            };
            let mut tag = String::from("\"");
            for byte in &Sha256::digest(bytes)[..12] {
                write!(tag, "{byte:02x}").expect("a String takes all");
            }
            tag.push('"');
            let file = File {
                content_type: HeaderValue::from_static(content_type),
                tag: HeaderValue::try_from(tag).expect("hex digits are visible ASCII"),
                bytes,
            };
            (name, file)
        };
        Self(FILES.into_iter().map(file).collect())
    }
}

/// The page, whose addresses are relative to it: wherever the host, or a proxy before it, has put it.
pub(super) async fn page(OriginalUri(uri): OriginalUri) -> Response {
    let (_, name) = uri.path().rsplit_once('/').unwrap_or_default();
    if !name.is_empty() {
        // Relative too, and after a dot, since a name may have a colon in it (RFC 3986 §4.2).
        let location = HeaderValue::try_from(format!("./{name}/"));
        let location = location.expect("a path that was read is a header's text");
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response();
    }
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

/// One of the files; who has it already is told so (RFC 9110 §13.1.2).
pub(super) async fn file(
    State(files): State<Arc<Files>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(file) = files.0.get(name.as_str()) else {
        return manage::no_such_route().await.into_response();
    };
    let known = [
        (ETAG, file.tag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let tags = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = tags.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    if tags.any(|tag| tag.trim_ascii() == file.tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, known).into_response();
    }
    let content_type = [(CONTENT_TYPE, file.content_type.clone())];
    (known, content_type, file.bytes).into_response()
}

const PAGE: &str = include_str!("static/index.html");

const FILES: [(&str, &[u8]); 33] = files![
    "activity.js",
    "api.js",
    "app.js",
    "audit.js",
    "base.css",
    "chart.js",
    "dialog.js",
    "dom.js",
    "frame.js",
    "icon.svg",
    "icons.js",
    "key.js",
    "key_actions.js",
    "key_create.js",
    "key_fields.js",
    "key_secret.js",
    "keys.js",
    "layout.css",
    "license.js",
    "license_actions.js",
    "licenses.js",
    "live.js",
    "names.js",
    "parts.css",
    "reservations.js",
    "runner.js",
    "sentences.js",
    "shortcuts.js",
    "sign_in.js",
    "theme.js",
    "ui.js",
    "unused.js",
    "words.js",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_names_no_file_that_is_not_there() {
        let files = Files::new();
        let named = PAGE.split(['"', '\'']).filter(|text| {
            let is_file = [".js", ".css", ".svg"]
                .iter()
                .any(|end| text.ends_with(end));
            is_file && !text.contains('/')
        });
        let named: Vec<_> = named.collect();
        assert!(named.len() >= 3, "{named:?}");
        for name in named {
            assert!(files.0.contains_key(name), "{name}");
        }
        assert_eq!(PAGE.matches("<base href=\"./\">").count(), 1);
    }

    #[test]
    fn every_module_that_a_file_imports_is_there() {
        let files = Files::new();
        for (name, file) in files.0.iter().filter(|(name, _)| name.ends_with(".js")) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            for import in text.split("from \"./").skip(1) {
                let imported = import.split('"').next().unwrap();
                assert!(files.0.contains_key(imported), "{name} imports {imported}");
            }
        }
    }
}
