//! Where a request carries its token (RFC 6750 §2, RFC 9449 §7.1): in the `Authorization` header, nowhere else.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use crate::Rejection;

/// How a token is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    /// Alone.
    Bearer,
    /// With a proof.
    Dpop,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// The scheme with this name. RFC 9110 §11.1: "a case-insensitive token".
    fn named(name: &str) -> Option<Self> {
        [Self::Bearer, Self::Dpop].into_iter().find(|it| name.eq_ignore_ascii_case(it.as_str()))
    }

    /// The scheme that a request uses, whatever else is wrong with it; `Bearer` where none can be told.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let name = value.and_then(|value| value.split(' ').next());
        name.and_then(Self::named).unwrap_or(Self::Bearer)
    }
}

/// The token of a request.
///
/// A token in the query is not looked at (OAuth 2.1 §5.1), except that it must not stand beside one in the header.
pub(crate) fn credentials<'h>(
    headers: &'h HeaderMap,
    uri: &Uri,
) -> Result<(Scheme, &'h str), Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Rejection::NoCredentials) };
    // Two headers are two clients: whichever of them we took, somebody in between may have taken the other.
    if values.next().is_some() {
        return Err(Rejection::InvalidRequest("more than one authorization header"));
    }
    let value = value.to_str().map_err(|_| MALFORMED)?;
    let (name, rest) = value.split_once(' ').unwrap_or((value, ""));
    if name.is_empty() {
        return Err(MALFORMED);
    }
    let scheme = Scheme::named(name).ok_or(Rejection::NoCredentials)?;
    // RFC 9110 §11.4: one or more spaces.
    let token = rest.trim_start_matches(' ');
    if token.is_empty() || !token.bytes().all(is_b64token_char) {
        return Err(MALFORMED);
    }
    // RFC 6750 §2: "Clients MUST NOT use more than one method to transmit the token in each request."
    if uri.query().is_some_and(has_access_token) {
        return Err(Rejection::InvalidRequest("a token in the header and another in the query"));
    }
    Ok((scheme, token))
}

const MALFORMED: Rejection = Rejection::InvalidRequest("malformed authorization header");

fn has_access_token(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("access_token"))
}

/// RFC 6750 §2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
pub(crate) const fn is_b64token_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::Scheme::{Bearer, Dpop};
    use super::*;

    #[test]
    fn the_header_decides() {
        const MORE: Rejection = Rejection::InvalidRequest("more than one authorization header");
        const BOTH: Rejection =
            Rejection::InvalidRequest("a token in the header and another in the query");
        type Case<'a> = (&'a [&'a str], &'a str, Result<(Scheme, &'a str), Rejection>);
        let cases: &[Case<'_>] = &[
            (&[], "/", Err(Rejection::NoCredentials)),
            (&["Bearer abc"], "/", Ok((Bearer, "abc"))),
            (&["bearer abc"], "/", Ok((Bearer, "abc"))),
            (&["BEARER   abc"], "/", Ok((Bearer, "abc"))),
            (&["Bearer a.b-c_d~e+f/g="], "/?x=access_token", Ok((Bearer, "a.b-c_d~e+f/g="))),
            (&["Basic abc"], "/", Err(Rejection::NoCredentials)),
            (&["DPoP abc"], "/", Ok((Dpop, "abc"))),
            (&["dpop  abc"], "/", Ok((Dpop, "abc"))),
            (&["DPOP abc"], "/", Ok((Dpop, "abc"))),
            (&["DPoP a b"], "/", Err(MALFORMED)),
            (&["DPoP"], "/", Err(MALFORMED)),
            (&["DPoP a", "Bearer a"], "/", Err(MORE)),
            (&["DPoP a"], "/?access_token=a", Err(BOTH)),
            (&[""], "/", Err(MALFORMED)),
            (&["Bearer"], "/", Err(MALFORMED)),
            (&["Bearer  "], "/", Err(MALFORMED)),
            (&["Bearer a b"], "/", Err(MALFORMED)),
            (&["Bearer a,b"], "/", Err(MALFORMED)),
            (&["Bearer \"a\""], "/", Err(MALFORMED)),
            (&["Bearer a\tb"], "/", Err(MALFORMED)),
            (&["Bearer a", "Bearer a"], "/", Err(MORE)),
            (&["Bearer a", "Basic b"], "/", Err(MORE)),
            (&["Bearer a"], "/?access_token=a", Err(BOTH)),
            (&["Bearer a"], "/?x=1&access_token", Err(BOTH)),
            (&[], "/?access_token=a", Err(Rejection::NoCredentials)),
        ];
        for (values, uri, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(&credentials(&headers, &uri), expected, "{values:?} {uri}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(credentials(&headers, &Uri::from_static("/")), Err(MALFORMED));
    }
}
