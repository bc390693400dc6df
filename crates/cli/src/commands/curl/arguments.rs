//! What is passed on to curl: options that lead a token nowhere else, and URLs that curl and we read alike.

use http::Uri;

use crate::diagnostic::{Diagnostic, Diagnostics, quoted};

/// The long options that stand alone.
const LONG_FLAGS: &[&str] = &[
    "basic",
    "compressed",
    "create-dirs",
    "fail",
    "fail-early",
    "fail-with-body",
    "get",
    "globoff",
    "head",
    "http1.0",
    "http1.1",
    "http2",
    "http2-prior-knowledge",
    "include",
    "insecure",
    "ipv4",
    "ipv6",
    "location",
    "no-buffer",
    "no-keepalive",
    "no-progress-meter",
    "parallel",
    "path-as-is",
    "post301",
    "post302",
    "post303",
    "progress-bar",
    "proxytunnel",
    "raw",
    "remote-header-name",
    "remote-name",
    "remote-name-all",
    "remote-time",
    "retry-all-errors",
    "retry-connrefused",
    "show-error",
    "silent",
    "ssl-no-revoke",
    "tlsv1.2",
    "tlsv1.3",
    "trace-time",
    "verbose",
];

/// The long options that a value follows.
const LONG_VALUES: &[&str] = &[
    "cacert",
    "capath",
    "cert",
    "cert-type",
    "connect-timeout",
    "connect-to",
    "continue-at",
    "cookie",
    "cookie-jar",
    "data",
    "data-ascii",
    "data-binary",
    "data-raw",
    "data-urlencode",
    "dump-header",
    "form",
    "form-string",
    "header",
    "interface",
    "json",
    "key",
    "key-type",
    "limit-rate",
    "max-filesize",
    "max-redirs",
    "max-time",
    "noproxy",
    "output",
    "output-dir",
    "parallel-max",
    "pass",
    "proxy",
    "proxy-cacert",
    "proxy-header",
    "proxy-user",
    "range",
    "referer",
    "request",
    "resolve",
    "retry",
    "retry-delay",
    "retry-max-time",
    "socks5",
    "socks5-hostname",
    "speed-limit",
    "speed-time",
    "stderr",
    "time-cond",
    "tls-max",
    "trace",
    "trace-ascii",
    "upload-file",
    "url",
    "url-query",
    "user",
    "user-agent",
    "write-out",
];

/// The short ones that stand alone.
const SHORT_FLAGS: &str = "#046GIJLNORSZfgikpsv";

/// The short ones that a value follows, in the same argument or the next.
const SHORT_VALUES: &str = "ACDEFHTUXYbcdemoruwxyz";

/// The URLs among what curl is told, or everything about it that could lead a token astray.
///
/// Options that are not known here are refused: one that takes a value which we take for a URL, or the other way round,
/// would hide a URL from us. So are those that bring URLs or options from elsewhere (`--config`, `--next`,
/// `--variable`, `--expand-…`), change what a URL means (`--proto-default`) or take the token along to other hosts
/// (`--location-trusted`).
pub(super) fn urls(arguments: &[String]) -> Result<Vec<Uri>, Diagnostics> {
    let (mut urls, mut diagnostics) = (Vec::new(), Diagnostics::default());
    let mut take = |text: &str, diagnostics: &mut Diagnostics| match url(text) {
        Some(url) => urls.push(url),
        None => diagnostics.push(
            Diagnostic::error(format!("{} is no URL that a token can be sent to", quoted(text)))
                .help("write it out, as https://host/path"),
        ),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match option(argument) {
            // "--" ends curl's options.
            _ if argument == "--" => rest.by_ref().for_each(|text| take(text, &mut diagnostics)),
            Some(Argument::Flags) => {}
            Some(Argument::Value { name, value }) => {
                let Some(value) = value.or_else(|| rest.next().map(String::as_str)) else { break };
                if name == "url" {
                    take(value, &mut diagnostics);
                } else if reads_standard_input(name, value) {
                    diagnostics.push(
                        Diagnostic::error("curl's standard input carries the token, so that nothing else can be read from it")
                            .help("write the data to a file and name that: -d @FILE"),
                    );
                }
            }
            Some(Argument::Positional) => take(argument, &mut diagnostics),
            None => diagnostics.push(
                Diagnostic::error(format!("curl's option {} is not passed on", quoted(argument)))
                    .help("only options that are known not to lead a token to other hosts are, by their full names"),
            ),
        }
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(urls) }
}

pub(super) enum Argument<'a> {
    Flags,
    /// A long name or a short letter, and its value unless that is the next argument.
    Value {
        name: &'a str,
        value: Option<&'a str>,
    },
    Positional,
}

/// What curl takes an argument for; nothing if that is not known.
pub(super) fn option(argument: &str) -> Option<Argument<'_>> {
    if let Some(long) = argument.strip_prefix("--") {
        // Older ones know no `=`, and refuse it themselves.
        let (name, value) =
            long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        if LONG_VALUES.contains(&name) {
            return Some(Argument::Value { name, value });
        }
        return (LONG_FLAGS.contains(&name) && value.is_none()).then_some(Argument::Flags);
    }
    let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) else {
        return Some(Argument::Positional);
    };
    for (at, letter) in short.char_indices() {
        if SHORT_VALUES.contains(letter) {
            let (name, value) = short.get(at..)?.split_at(letter.len_utf8());
            return Some(Argument::Value { name, value: Some(value).filter(|v| !v.is_empty()) });
        }
        if !SHORT_FLAGS.contains(letter) {
            return None;
        }
    }
    Some(Argument::Flags)
}

/// Whether this value of an option makes curl read its standard input.
fn reads_standard_input(name: &str, value: &str) -> bool {
    matches!((name, value), ("T" | "upload-file" | "b" | "cookie", "-" | "."))
        || value.ends_with("@-")
        || value.ends_with("@.")
}

/// An absolute URL, if there are no two ways to read where it leads.
///
/// curl mends what is written in other ways: `https:/host`, `https:///host`, `host/path`, percent signs and other
/// letters in a host. It would find a host there that we have not looked at.
fn url(text: &str) -> Option<Uri> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next()?;
    // Without user information: `good.example@evil.example` is evil.example.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if !matches!(&*scheme, "http" | "https")
        || authority.is_empty()
        || !authority.chars().all(plain)
    {
        return None;
    }
    let url: Uri = format!("{scheme}://{authority}/").parse().ok()?;
    url.host().is_some_and(|host| !host.is_empty()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        urls(&arguments)
            .map(|urls| urls.iter().map(Uri::to_string).collect())
            .map_err(|bad| bad.0.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn every_url_is_found() {
        let good = |arguments: &[&str], expected: &[&str]| {
            assert_eq!(
                read(arguments).as_deref(),
                Ok(&expected.iter().map(|&e| e.to_owned()).collect::<Vec<_>>()[..]),
                "{arguments:?}"
            );
        };
        good(&["-v", "https://a.example/x"], &["https://a.example/"]);
        good(&["--url", "HTTPS://a.example:8443?x"], &["https://a.example:8443/"]);
        good(&["--url=http://[::1]:80/"], &["http://[::1]:80/"]);
        good(&["-sSLo", "file", "https://a.example"], &["https://a.example/"]);
        good(&["-ofile", "https://a.example/{x}[1]"], &["https://a.example/"]);
        good(&["-d", "https://data.example/", "https://a.example"], &["https://a.example/"]);
        good(&["-o", "-", "--", "https://a.example"], &["https://a.example/"]);
        good(&["-x", "http://proxy.example", "https://a.example"], &["https://a.example/"]);
        good(
            &["https://a.example", "https://b.example"],
            &["https://a.example/", "https://b.example/"],
        );
    }

    #[test]
    fn what_curl_would_mend_is_refused() {
        for text in [
            "evil.example:31760/x",
            "evil.example",
            "https://{api.good.example,evil.example}/",
            "https://api[1-2].example{/",
            "https:/evil.example/",
            "HTTPS:///evil.example",
            "https:evil.example",
            "//evil.example/",
            "https://good.example@evil.example/",
            "https://good.example\\@evil.example/",
            "https://evil%2eexample/",
            "https://evil。example/",
            "https://good.example/ https://evil.example/",
            "https://:443/",
            "ftp://evil.example/",
            "@file",
            "-",
            "",
        ] {
            for arguments in [&[text][..], &["--url", text], &["-s", "--", text]] {
                let refused = read(arguments).unwrap_err();
                assert!(
                    refused.contains("no URL that a token can be sent to"),
                    "{text}: {refused}"
                );
            }
        }
    }

    #[test]
    fn options_that_lead_elsewhere_or_are_unknown_are_refused() {
        for option in [
            "-K",
            "-Kfile",
            "-sK",
            "--config",
            "--config=file",
            "--next",
            "-:",
            "--location-trusted",
            "--proto-default",
            "--proto",
            "--proto-redir",
            "--variable",
            "--expand-url",
            "--no-globoff",
            "--loc",
            "--location-t",
            "--netrc",
            "--libcurl",
            "--unheard-of",
            "--silent=x",
            "-sé",
        ] {
            let refused = read(&[option, "https://a.example/"]).unwrap_err();
            assert!(refused.contains("is not passed on"), "{option}: {refused}");
        }
    }

    #[test]
    fn standard_input_is_taken() {
        for taken in
            [["-d", "@-"], ["-F", "file=@-"], ["-T", "."], ["--upload-file", "-"], ["-s", "-T-"]]
        {
            let refused = read(&taken).unwrap_err();
            assert!(refused.contains("standard input carries the token"), "{taken:?}: {refused}");
        }
        assert!(read(&["-d", "@file"]).is_ok());
    }
}
