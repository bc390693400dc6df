//! No secret appears in any log, at any level.

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokenry_client::{HttpTransport, Transport as _};

use crate::run::{Place, run};
use crate::running::{HOSTS, Running};
use crate::server::Server;

/// Requests of every kind, good and bad. `{S}` is the right client secret, `{P}` the right password, `{R}` a refresh
/// token; the rest are canaries.
const REQUESTS: [(&str, &str); 14] = [
    (
        "https://oauth.tuinly.com/token",
        "grant_type=client_credentials&client_id=tuinly&client_secret={S}",
    ),
    ("https://oauth.tuinly.com/token", "grant_type=refresh_token&refresh_token={R}"),
    ("https://oauth.tuinly.com/token", "grant_type=refresh_token&refresh_token=canary-1"),
    (
        "https://oauth.tuinly.com/token",
        "grant_type=client_credentials&client_id=tuinly&client_secret=canary-2",
    ),
    (
        "https://oauth.tuinly.com/token",
        "grant_type=client_credentials&client_id=nobody&client_secret=canary-3",
    ),
    (
        "https://oauth.tuinly.com/token",
        "grant_type=password&username=a&password=canary-4&client_id=tuinly&client_secret={S}",
    ),
    ("https://oauth.tuinly.com/token?client_secret=canary-5", "grant_type=client_credentials"),
    ("https://oauth.tuinly.com/canary-6", "client_secret=canary-7"),
    (
        "https://oauth.tuinly.com/token",
        "client_assertion=canary-8&client_secret=canary-9&client_secret=canary-10",
    ),
    ("https://oauth.tuinly.com/token", "client_secret=%zz-canary-11"),
    (
        "https://auth-service.services.simacan.com/api/v1/auth/password",
        "username=carrier&password={P}",
    ),
    (
        "https://auth-service.services.simacan.com/api/v1/auth/password",
        "username=carrier&password=canary-12",
    ),
    ("https://auth-service.services.simacan.com/api/v1/auth/refresh", "refresh_token=canary-13"),
    (
        "https://services.truphone.com/realms/tru-staff/protocol/openid-connect/token",
        "grant_type=client_credentials&client_id=truphone&client_secret=canary-14",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn row_254_row_304_no_secret_and_no_token_is_logged_at_any_level() {
    let running = Running::start_with(&[("TOKENRY_LOG", "trace")]);
    let http =
        HttpTransport::builder().root_certificates(running.read("ca.pem").as_bytes()).unwrap();
    let http = HOSTS
        .iter()
        .fold(http, |http, host| http.connect_to(host, running.address))
        .build()
        .unwrap();
    let (secret, password) = (running.read("tuinly.secret"), running.read("production.password"));
    let mut secrets =
        vec![secret.clone(), password.clone(), "canary-".into(), running.read("master.key")];
    let mut refresh_token = String::new();
    let mut answered = 0;
    for (url, body) in REQUESTS {
        let body =
            body.replace("{S}", &secret).replace("{P}", &password).replace("{R}", &refresh_token);
        // Once in the form, once with a header that holds a canary too.
        for basic in [None, Some("Basic dHVpbmx5OmNhbmFyeS0xNQ==")] {
            let mut request = Request::post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("x-request-id", "r");
            if let Some(basic) = basic {
                request = request.header("authorization", basic);
            }
            let response =
                http.send(request.body(Bytes::from(body.clone())).unwrap()).await.unwrap();
            answered += 1;
            let json: Value = serde_json::from_slice(response.body()).unwrap();
            for name in ["access_token", "refresh_token", "id_token"] {
                if let Some(token) = json[name].as_str() {
                    secrets.push(token.to_owned());
                    if name == "refresh_token" && url.contains("tuinly") {
                        refresh_token = token.to_owned();
                    }
                }
            }
        }
    }
    secrets.push("dHVpbmx5OmNhbmFyeS0xNQ".into());
    let log = running.read("log");
    assert!(
        log.contains("TRACE") || log.contains("\"level\":\"TRACE\""),
        "the log is at its loudest"
    );
    assert!(
        log.matches("token issued").count() >= 3 && answered == 28,
        "the log tells what happened"
    );
    assert!(secrets.len() >= 9);
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "a secret was logged");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn row_254_the_commands_that_get_tokens_give_away_neither_them_nor_secrets() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::applied();
    place.run(["client", "secret", "add", "example", "first", "--to", "secret"]).good();
    let server = Server::start(&place);
    let connect_to = format!("localhost:8443:{}", server.address);
    std::fs::create_dir(place.path("bin")).unwrap();
    // What a list of processes shows, of itself and of who started it.
    let spy = "cat /proc/$$/cmdline /proc/$PPID/cmdline /proc/$$/environ > seen";
    place.write("bin/curl", &format!("#!/bin/sh\n{spy}\ncat > input\n"));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("bin/curl"), executable).unwrap();
    let keep = format!("{spy}; cat $TOKENRY_TOKEN_FILE > token");
    let secret = place.read("secret");
    let commands: [(&str, &[&str]); 5] = [
        ("token", &["--header"]),
        ("token", &["--scope", "admin"]),
        ("curl", &["--", "https://api.example/"]),
        ("exec", &["--", "sh", "-c", &keep]),
        ("doctor", &["--dpop", "--url", "https://localhost:8443/userinfo"]),
    ];
    for (name, more) in commands {
        let mut arguments = vec![name, "--issuer", "https://localhost:8443", "--cacert", "ca.pem"];
        arguments.extend(["--client-id", "first", "--connect-to", &connect_to]);
        arguments.extend(more);
        let mut command = crate::run::command(&place.path(""), &arguments);
        let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("TOKENRY_LOG", "trace").env("TOKENRY_CLIENT_SECRET", &secret);
        let ran = run(command, "");
        assert!(ran.err.contains("TRACE"), "the log is at its loudest: {name} {}", ran.err);
        let token = match name {
            "token" => ran.out.trim().rsplit(' ').next().unwrap().to_owned(),
            "exec" => place.read("token"),
            "curl" => place
                .read("input")
                .split(['"', ' '])
                .find(|t| t.starts_with("ey"))
                .unwrap()
                .to_owned(),
            _ => String::new(),
        };
        // The beginning of a JWT is its header, which says nothing, and stands for the whole.
        let hidden = [secret.as_str(), "eyJ"];
        let mut seen = ran.err.clone();
        if name != "token" {
            seen.push_str(&ran.out);
        }
        if matches!(name, "curl" | "exec") {
            let listed =
                String::from_utf8_lossy(&std::fs::read(place.path("seen")).unwrap()).into_owned();
            assert!(listed.contains("--client-id"), "{listed}");
            assert!(token.starts_with("eyJ"), "{token}");
            seen.push_str(&listed);
        }
        for hidden in hidden {
            assert!(!seen.contains(hidden), "{name} gives {hidden} away: {seen}");
        }
    }
}
