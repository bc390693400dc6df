//! Clients that need no secret, on the command line.

use crate::run::Place;

const TRUST: &str = r#"
[[realm.trusts]]
name = "cluster"
issuer = "https://kubernetes.example"
"#;

#[test]
fn row_054_a_new_client_is_offered_a_key_first() {
    let place = Place::applied();
    let ran = place.run(["client", "add", "example", "billing"]).good();
    let (key, secret) = (
        ran.err.find("tokenry client key add --generate-to billing.pem example billing"),
        ran.err.find("tokenry client secret add --to billing.secret example billing"),
    );
    assert!(key.is_some() && key < secret, "{}", ran.err);
    // What is offered works as it is printed.
    let offered = ["client", "key", "add", "--generate-to", "billing.pem", "example", "billing"];
    place.run(offered).good();
    assert!(place.read("billing.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
    let offered = ["client", "secret", "add", "--to", "billing.secret", "example", "billing"];
    place.run(offered).good();
}

#[test]
fn a_client_is_known_by_what_a_trusted_issuer_calls_it() {
    let place = Place::new();
    let realm = place.read("realm.toml");
    place.write("realm.toml", &(realm + TRUST));
    place.run(["apply", "realm.toml"]).good();
    let subject = "system:serviceaccount:shop:first";
    let add = |trust: &'static str| {
        place.run([
            "client",
            "subject",
            "add",
            "example",
            "first",
            "--trust",
            trust,
            "--subject",
            subject,
        ])
    };
    let unknown = add("clutser").bad("trusts no issuer `clutser`");
    assert!(unknown.err.contains("did you mean `cluster`?"), "{}", unknown.err);
    add("cluster").good();
    add("cluster").bad("has this subject already");
    let listed = place.run(["client", "subject", "list", "example", "first", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.good().out).unwrap();
    assert_eq!(listed["subjects"][0]["subject"], subject);
    assert_eq!(listed["subjects"][0]["issuer"], "https://kubernetes.example");
    let id = listed["subjects"][0]["credential"].as_str().unwrap().to_owned();
    place.run(["client", "subject", "remove", "example", "first", &id]).good();
    let listed = place.run(["client", "subject", "list", "example", "first", "--output", "json"]);
    assert!(listed.good().out.contains(r#""subjects":[]"#));
}
