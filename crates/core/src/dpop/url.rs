//! The URL of a proof, in the form in which it is compared (RFC 9449 §4.3, RFC 3986 §6.2.2, §6.2.3).

/// A URL without query and fragment, in one form for all that mean the same. `None`: it is no http URL.
pub(super) fn normalized(url: &str) -> Option<String> {
    // "ignoring any query and fragment parts"
    let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    Some(format!("{scheme}://{authority}{}", without_dots(&unescaped(path)?)))
}

/// Undoes the encoding of characters that need none (RFC 3986 §2.3), and writes all other in upper case.
fn unescaped(path: &str) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            plain.push(char::from(byte));
        } else {
            plain.push('%');
            plain.push_str(&digits.to_ascii_uppercase());
        }
        rest = &rest[at + 3..];
    }
    plain.push_str(rest);
    Some(plain)
}

/// RFC 3986 §5.2.4, for a path that is empty or begins with a slash.
fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    // What ends in a dot segment ends in a slash.
    if path.ends_with("/.") || path.ends_with("/..") {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn row_204_row_205_what_means_the_same_is_the_same() {
        for same in [
            "https://host/token",
            "HTTPS://Host:443/a/../token",
            "https://host/token?a=b",
            "https://host/token#a",
            "https://host/./token",
            "https://host/%74oken",
            "https://host:/token",
        ] {
            assert_eq!(normalized(same).as_deref(), Some("https://host/token"), "{same}");
        }
        for (url, expected) in [
            ("https://host", Some("https://host/")),
            ("https://host/", Some("https://host/")),
            ("https://host/a/", Some("https://host/a/")),
            ("https://host/a/b/..", Some("https://host/a/")),
            ("https://host/../../a", Some("https://host/a")),
            ("https://host/a%2fb", Some("https://host/a%2Fb")),
            ("https://host:8443/a", Some("https://host:8443/a")),
            ("http://host:80/Token", Some("http://host/Token")),
            ("http://host:443/token", Some("http://host:443/token")),
            ("https://host/%zz", None),
            ("https://host/%7", None),
            ("https://host/%ä", None),
            ("https://user@host/", None),
            ("https:///token", None),
            ("host/token", None),
            ("ftp://host/token", None),
            ("", None),
        ] {
            assert_eq!(normalized(url).as_deref(), expected, "{url}");
        }
    }
}
