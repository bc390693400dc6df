//! The one request that a proof of possession is for (RFC 9449 §4.2): its method and its URL.

use http::{Method, Uri};

use super::arguments::{Argument, option};
use crate::diagnostic::{Diagnostic, quoted};

/// A request that curl makes once.
#[derive(Debug)]
pub(super) struct TheRequest {
    pub(super) method: Method,
    pub(super) url: Uri,
}

/// What curl is told, as far as it decides about method and URL.
#[derive(Default)]
struct Told<'a> {
    urls: Vec<&'a str>,
    request: Option<&'a str>,
    head: bool,
    get: bool,
    data: bool,
    upload: bool,
    /// An option with which one request may become several.
    repeats: Option<&'static str>,
    /// An option with which a URL is not what is written.
    changes: Option<&'static str>,
}

impl TheRequest {
    /// Reads what curl is told, which [`urls`](super::arguments::urls) has found good.
    pub(super) fn of(arguments: &[String]) -> Result<Self, Diagnostic> {
        let told = Told::by(arguments);
        let [url] = told.urls.as_slice() else {
            let count = told.urls.len();
            return Err(wrong(&format!("a proof is for one request, and there are {count} URLs")));
        };
        if let Some(option) = told.repeats {
            return Err(wrong(&format!(
                "a proof is for one request, and {option} makes several of it"
            )));
        }
        if let Some(option) = told.changes {
            return Err(wrong(&format!(
                "a proof is for one URL, and {option} makes another of it"
            )));
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        // curl squashes these, so that the proof would name another path.
        if path.contains("/./")
            || path.contains("/../")
            || path.ends_with("/.")
            || path.ends_with("/..")
        {
            return Err(wrong(&format!("{} is a path with dots in it", quoted(path))));
        }
        let unclear = || wrong(&format!("{} is no URL that can be signed", quoted(url)));
        let url = path.parse().map_err(|_| unclear())?;
        let method = told.method().parse().map_err(|_| wrong("the method is none"))?;
        Ok(Self { method, url })
    }
}

fn wrong(what: &str) -> Diagnostic {
    Diagnostic::error(what).help("run `tokenry curl` once for each request, or use `tokenry proxy`")
}

impl<'a> Told<'a> {
    fn by(arguments: &'a [String]) -> Self {
        let mut told = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                told.urls.extend(rest.by_ref().map(String::as_str));
                break;
            }
            told.note_flags(argument);
            match option(argument) {
                Some(Argument::Positional) => told.urls.push(argument),
                Some(Argument::Value { name, value }) => {
                    let value = value.or_else(|| rest.next().map(String::as_str));
                    told.note(name, value.unwrap_or_default());
                }
                Some(Argument::Flags) | None => {}
            }
        }
        told
    }

    fn note_flags(&mut self, argument: &str) {
        match argument.strip_prefix("--") {
            Some("head") => self.head = true,
            Some("get") => self.get = true,
            Some("location") => self.repeats = Some("--location"),
            Some(_) => {}
            None => self.note_letters(argument),
        }
    }

    /// The letters of short options, up to the one that takes the rest for its value.
    fn note_letters(&mut self, argument: &str) {
        let Some(letters) = argument.strip_prefix('-') else { return };
        let takes_value = match option(argument) {
            Some(Argument::Value { name, .. }) => letters.find(name),
            _ => None,
        };
        for letter in
            letters.get(..takes_value.unwrap_or(letters.len())).unwrap_or_default().chars()
        {
            match letter {
                'I' => self.head = true,
                'G' => self.get = true,
                'L' => self.repeats = Some("--location"),
                _ => {}
            }
        }
    }

    fn note(&mut self, name: &str, value: &'a str) {
        match name {
            "url" => self.urls.push(value),
            "X" | "request" => self.request = Some(value),
            "d" | "data" | "data-ascii" | "data-binary" | "data-raw" | "data-urlencode" | "F"
            | "form" | "form-string" | "json" => self.data = true,
            "T" | "upload-file" => {
                self.upload = true;
                // A URL that ends with a slash gets the file's name.
                self.changes = Some("--upload-file");
            }
            "retry" => self.repeats = Some("--retry"),
            _ => {}
        }
    }

    fn method(&self) -> &str {
        match self.request {
            Some(method) => method,
            None if self.head => "HEAD",
            None if self.get => "GET",
            None if self.upload => "PUT",
            None if self.data => "POST",
            None => "GET",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        TheRequest::of(&arguments)
            .map(|request| format!("{} {}", request.method, request.url))
            .map_err(|error| error.message)
    }

    #[test]
    fn method_and_url_are_those_that_curl_takes() {
        for (arguments, expected) in [
            (&["https://a.example/x?y=1#z"][..], "GET https://a.example/x"),
            (&["-sI", "https://a.example"], "HEAD https://a.example/"),
            (&["-d", "a=b", "--url", "https://a.example/x"], "POST https://a.example/x"),
            (&["-sGd", "a=b", "https://a.example/x"], "GET https://a.example/x"),
            (&["-sXDELETE", "https://a.example/x"], "DELETE https://a.example/x"),
            (
                &["--json", "{}", "--request=PATCH", "https://a.example/x"],
                "PATCH https://a.example/x",
            ),
            (&["-odLIG", "--", "https://a.example/x"], "GET https://a.example/x"),
        ] {
            assert_eq!(read(arguments).as_deref(), Ok(expected), "{arguments:?}");
        }
    }

    #[test]
    fn what_a_proof_cannot_be_for_is_refused() {
        for (arguments, expected) in [
            (&["https://a.example", "https://b.example"][..], "there are 2 URLs"),
            (&["-v"], "there are 0 URLs"),
            (&["-sL", "https://a.example"], "--location makes several"),
            (&["--location", "https://a.example"], "--location makes several"),
            (&["--retry", "3", "https://a.example"], "--retry makes several"),
            (&["-T", "file", "https://a.example/"], "--upload-file makes another"),
            (&["https://a.example/a/../b"], "dots in it"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }
}
