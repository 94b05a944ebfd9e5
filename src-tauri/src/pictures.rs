//! Pictures for the page: `troupe-picture://localhost/<kind>/…`, by id and never by path.
//!
//! | path | picture |
//! |---|---|
//! | `character/<character id>/<picture id>` | one of a character's own |
//! | `character/<character id>/<picture id>/whole` | the same before it was cut |
//! | `chat/<picture id>` | one drawn in a chat or in the gallery |
//! | `attached/<name>` | one that came with a message |
//! | `run/<run id>/<file>` | a sample made while teaching |

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;
use tauri::{
    Builder, Runtime,
    http::{Response, StatusCode, header},
};
use troupe_api::{ApiError, ApiResult, ErrorCode, Studio};

/// Registers the scheme.
pub(crate) fn register<R: Runtime>(builder: Builder<R>, studio: &Studio) -> Builder<R> {
    let studio = studio.clone();
    builder.register_asynchronous_uri_scheme_protocol(
        "troupe-picture",
        move |_context, request, responder| {
            let studio = studio.clone();
            let path = request.uri().path().to_owned();
            tauri::async_runtime::spawn_blocking(move || responder.respond(answer(&studio, &path)));
        },
    )
}

fn find(studio: &Studio, path: &str) -> ApiResult<PathBuf> {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let parts: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        ["character", character, picture] => studio.character_picture_file(character, picture),
        ["character", character, picture, "whole"] => studio.whole_picture_file(character, picture),
        ["chat", picture] => studio.drawn_picture_file(picture),
        ["attached", name] => studio.attachment_file(name),
        ["run", run, name] => studio.run_sample_file(run, name),
        _ => Err(ApiError::new(ErrorCode::NotFound, "there is no such picture", "")),
    }
}

fn answer(studio: &Studio, path: &str) -> Response<Cow<'static, [u8]>> {
    let read = find(studio, path).and_then(|file| {
        let mime = match file.extension().and_then(|e| e.to_str()) {
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("webp") => "image/webp",
            _ => "image/png",
        };
        let bytes = std::fs::read(&file).map_err(|e| {
            ApiError::new(ErrorCode::NotFound, format!("a picture cannot be read: {e}"), "")
        })?;
        Ok((mime, bytes))
    });
    let (status, mime, body) = match read {
        Ok((mime, bytes)) => (StatusCode::OK, mime, bytes),
        Err(error) => {
            tracing::debug!("no picture: {error}");
            (StatusCode::NOT_FOUND, "text/plain", error.message.into_bytes())
        }
    };
    let mut response = Response::new(Cow::Owned(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(mime));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}
