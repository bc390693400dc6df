//! Headers and claims: good ones, in which some members are changed, added, repeated or taken away.

use serde_json::json;

use super::choices::Choices;
use super::keys::Key;
use super::{API, ISSUERS, NOW, REVOKED};

const ISSUER: &str = ISSUERS[0];

/// A JSON object as text, good or not.
pub(super) struct Part {
    /// Names and values, both as they are written.
    members: Vec<(Vec<u8>, Vec<u8>)>,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The members of a header that are changed.
const HEADER: [&str; 13] = [
    "alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5c", "x5t", "x5t#S256", "cty", "enc", "zip",
];

/// The claims that are changed.
const CLAIMS: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "cnf",
    "azp",
    "typ",
    "sid",
];

/// Values that mean something nowhere, or everywhere.
const ANYTHING: [&str; 24] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "1e3",
    "1E400",
    "01",
    "18446744073709551616",
    "\"\"",
    "\"a\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{feff}\"",
    "\"\\ud83d\\ude00\"",
    "[]",
    "{}",
    "[[]]",
    "{\"a\":1,\"a\":1}",
    "{\"a\":[{\"\\u0061\":1},{\"b\":1,\"\\u0062\":1}]}",
    "nul",
];

/// A byte below this takes a value of the member's own: those get further.
const OWN: usize = 192;

/// Deeper than any reader goes.
const DEEP: usize = 200;

impl Part {
    pub(super) fn header(alg: &str, kid: Option<&str>) -> Self {
        let mut part = Self::of(&[("alg", json!(alg)), ("typ", json!("at+jwt"))]);
        if let Some(kid) = kid {
            part.members.push((b"\"kid\"".to_vec(), json!(kid).to_string().into()));
        }
        part
    }

    pub(super) fn claims(issuer: &str, jti: &str) -> Self {
        Self::of(&[
            ("iss", json!(issuer)),
            ("sub", json!("billing")),
            ("aud", json!(API)),
            ("exp", json!(NOW + 300)),
            ("iat", json!(NOW)),
            ("jti", json!(jti)),
            ("client_id", json!("billing")),
            ("scope", json!("read write")),
        ])
    }

    fn of(members: &[(&str, serde_json::Value)]) -> Self {
        let written = |(name, value): &(&str, serde_json::Value)| {
            (json!(name).to_string().into_bytes(), value.to_string().into_bytes())
        };
        Self {
            members: members.iter().map(written).collect(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// As text.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut text = self.before.clone();
        text.push(b'{');
        for (i, (name, value)) in self.members.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            text.extend_from_slice(name);
            text.push(b':');
            text.extend_from_slice(value);
        }
        text.push(b'}');
        text.extend_from_slice(&self.after);
        text
    }

    /// White space at the end, which changes nothing but the length.
    pub(super) fn lengthen(&mut self, by: usize) {
        self.after.resize(self.after.len() + by, b' ');
    }

    /// Changes one member of a header.
    pub(super) fn edit_header(&mut self, choices: &mut Choices<'_>, keys: &[Key]) {
        let name = HEADER[choices.below(HEADER.len())];
        let own = header_values(name, keys);
        self.edit(name, &own, choices);
    }

    /// Changes one claim.
    pub(super) fn edit_claim(&mut self, choices: &mut Choices<'_>) {
        let name = CLAIMS[choices.below(CLAIMS.len())];
        let own = claim_values(name);
        self.edit(name, &own, choices);
    }

    /// Changes a member of any name.
    pub(super) fn edit_any(&mut self, choices: &mut Choices<'_>) {
        let name = String::from_utf8_lossy(choices.bytes()).into_owned();
        self.edit(&name, &[], choices);
    }

    fn edit(&mut self, name: &str, own: &[String], choices: &mut Choices<'_>) {
        let manner = choices.below(9);
        let value = value(own, choices);
        let plain = json!(name).to_string().into_bytes();
        let same = self.members.iter().position(|(own, _)| *own == plain);
        match (manner, same) {
            (0..=3, Some(at)) => self.members[at].1 = value,
            (0..=4, _) => self.members.push((plain, value)),
            (5, _) => self.members.insert(0, (plain, value)),
            // A name in which a letter is escaped is still that name.
            (6, _) => self.members.push((escaped(name), value)),
            (7, Some(at)) => self.members[at].0 = escaped(name),
            (_, Some(at)) => drop(self.members.remove(at)),
            (_, None) => {}
        }
    }

    /// Changes what stands around the members.
    pub(super) fn edit_text(&mut self, choices: &mut Choices<'_>) {
        match choices.below(8) {
            0 => self.before.extend_from_slice("\u{feff}".as_bytes()),
            1 => self.before.extend_from_slice(b" \t\r\n"),
            2 => self.before.push(b'['),
            3 => self.after.extend_from_slice(b"\n"),
            4 => self.after.extend_from_slice(b"{}"),
            5 => self.after.push(0),
            6 => self.after.extend_from_slice(choices.bytes()),
            _ => self.before.extend_from_slice(choices.bytes()),
        }
    }
}

/// A value of the member's own, one that means nothing, or one of the fuzzer's making.
fn value(own: &[String], choices: &mut Choices<'_>) -> Vec<u8> {
    let at = usize::from(choices.byte());
    if at < OWN && !own.is_empty() {
        return own[at % own.len()].clone().into();
    }
    let at = at % (ANYTHING.len() + 5);
    if let Some(value) = ANYTHING.get(at) {
        return (*value).into();
    }
    match at - ANYTHING.len() {
        0 => json!(String::from_utf8_lossy(choices.bytes())).to_string().into(),
        // As it is: not always JSON, not always UTF-8.
        1 => choices.bytes().into(),
        2 => [b"\"", choices.bytes(), b"\""].concat(),
        3 => {
            let deep = usize::from(choices.byte()).min(DEEP);
            format!("{}{}", "[".repeat(deep), "]".repeat(deep)).into()
        }
        _ => format!("\"{}\"", "k".repeat(choices.wide() % 600)).into(),
    }
}

/// A name with its first letter escaped.
fn escaped(name: &str) -> Vec<u8> {
    let mut chars = name.chars();
    let first = chars.next().unwrap_or('a');
    let rest = json!(chars.as_str()).to_string();
    format!("\"\\u{:04x}{}", u32::from(first) & 0xffff, &rest[1..]).into()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| json!(value).to_string()).collect()
}

fn header_values(name: &str, keys: &[Key]) -> Vec<String> {
    match name {
        "alg" => strings(&[
            "EdDSA",
            "Ed25519",
            "ES256",
            "RS256",
            "ES384",
            "PS256",
            "HS256",
            "none",
            "None",
            "nOnE",
            "",
            "eddsa",
            "ed25519",
            "EdDSA ",
            "ES512",
            "ML-DSA-44",
            "HS512",
            "RS512",
        ]),
        "typ" => strings(&[
            "JWT",
            "AT+JWT",
            "application/at+jwt",
            "Application/AT+jwt",
            "jwt",
            "at+jwt ",
            "dpop+jwt",
            "application/application/at+jwt",
            "application/",
            "at+jwtx",
            "at+jw",
            "x/at+jwt",
        ]),
        "kid" => {
            strings(&["ed", "es", "rs", "es384", "ED", "ed ", "unknown", "../ed", &"k".repeat(257)])
        }
        "crit" => ["[]", "[\"b64\"]", "[\"exp\"]"].map(str::to_owned).into(),
        "b64" => ["false"].map(str::to_owned).into(),
        "jwk" => keys.iter().map(Key::jwk).collect(),
        "x5c" => [json!([API]), json!([1])].map(|value| value.to_string()).into(),
        "jku" => strings(&["https://evil.example/keys"]),
        "zip" => strings(&["DEF"]),
        _ => Vec::new(),
    }
}

fn claim_values(name: &str) -> Vec<String> {
    let print = "A".repeat(43);
    let json = |value: serde_json::Value| value.to_string();
    match name {
        "iss" => {
            let mut values = strings(&[
                ISSUERS[1],
                &format!("{ISSUER}/"),
                &ISSUER[..ISSUER.len() - 1],
                &ISSUER.to_uppercase(),
                "https://id.example",
                &format!("{ISSUER}\0"),
                &format!(" {ISSUER}"),
                &format!("{ISSUER}x"),
                "",
                API,
                &ISSUER.replace("main", "mein"),
                &ISSUER.replace("https", "http"),
                "https://id.example:443/realms/main",
            ]);
            values.extend([json(json!([ISSUER])), json(json!(ISSUER)).replace("id", "\\u0069d")]);
            values
        }
        "aud" => [
            json!([API]),
            json!(["b", API]),
            json!([API, 1]),
            json!([[API]]),
            json!([null, API]),
            json!([]),
            json!([API, API]),
            json!({ API: API }),
            json!(format!("{API}/")),
            json!("https://api"),
            json!(["b", "c"]),
            json!(API.to_uppercase()),
            json!(ISSUER),
            json!(format!("{API} b")),
            json!([format!("b {API}")]),
            json!("https://api.example2"),
        ]
        .map(json)
        .into(),
        "exp" | "nbf" | "iat" => dates(),
        "scope" => {
            let mut values = strings(&[
                "",
                " ",
                "  write   read ",
                "read read",
                "a\"b",
                "a\\b",
                "grün",
                "a\tb",
                "a\nb",
                "a\0b",
                "\u{7f}",
                "!~#[]",
                "READ",
                "\u{a0}",
                "read,write",
            ]);
            values.push(json(json!(["read"])));
            values
        }
        "cnf" => [
            json!({ "jkt": print }),
            json!({ "x5t#S256": print }),
            json!({}),
            json!({ "jwk": {} }),
            json!({ "jkt": print, "kid": "a" }),
            json!({ "kid": "a" }),
            json!("a"),
            json!({ "jkt": "" }),
        ]
        .map(json)
        .into(),
        "jti" | "sid" => strings(&[REVOKED, "Revoked", "revoked ", "revoke"]),
        "typ" => strings(&["Bearer", "ID", "Refresh"]),
        "sub" | "client_id" | "azp" => strings(&["crm", "grün", "\u{1f600}"]),
        _ => Vec::new(),
    }
}

fn dates() -> Vec<String> {
    let near =
        [-11, -10, -9, -1, 0, 1, 10, 11, 300, 3600].map(|by| NOW.strict_add_signed(by).to_string());
    let odd = [
        format!("\"{}\"", NOW + 300),
        format!("{}.0", NOW + 300),
        format!("{}.5", NOW + 300),
        "1.8000003e9".to_owned(),
        format!("{}000", NOW + 300),
        format!("[{}]", NOW + 300),
        format!("-{}", NOW + 300),
        format!("0{}", NOW + 300),
        format!("+{}", NOW + 300),
        "253402300799".to_owned(),
        "253402300800".to_owned(),
        u64::MAX.to_string(),
        "1e999".to_owned(),
    ];
    near.into_iter().chain(odd).collect()
}
