use super::*;

#[test]
fn known_values_and_shapes_go_and_prose_stays() {
    let redactor = Redactor::new(vec!["hunter2hunter2".into(), "short".into()]);
    for secret in [
        "hunter2hunter2",
        "sk-abcdefghijklmnopqrstuvwx",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "nsec1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabc",
    ] {
        let text = format!("before {secret}");
        assert_eq!(redactor.redact(&text), format!("before {MARK}"), "{secret}");
    }
    for prose in [
        "a short risk-averse sentence",
        "3437cbfc4d8bb4b6dc48b6b29e9e09b53fb76444cda14ab7586e63f36fe3c60c",
        "task-oriented",
    ] {
        assert_eq!(redactor.redact(prose), prose);
    }
}

#[test]
fn a_secret_that_grows_is_never_shown_in_part() {
    let redactor = Redactor::new(vec!["tok-0123456789abcdef".into()]);
    let text = "see tok-0123456789abcdef and -----BEGIN PRIVATE KEY-----\nMIIE\nxyz\n-----END PRIVATE KEY----- end ";
    for end in 0..=text.len() {
        let shown = redactor.shown(&text[..end]).unwrap_or_default();
        assert!(
            !shown.contains("tok-") && !shown.contains("MIIE"),
            "{shown}"
        );
    }
    assert_eq!(redactor.shown(text).unwrap(), redactor.redact(text));
}

#[test]
fn a_secret_in_a_text_without_white_space_is_never_shown_in_part() {
    let secret = "0123456789abcdef".repeat(4);
    let redactor = Redactor::new(vec![secret.clone()]);
    let text = format!("{}{secret}{}", "x".repeat(5000), "y".repeat(5000));
    let mut shown = String::new();
    for end in (0..=text.len()).step_by(7) {
        if let Some(now) = redactor.shown(&text[..end]) {
            assert!(now.starts_with(&shown), "what was shown is not taken back");
            assert!(!now.contains("0123"), "{end}");
            shown = now;
        }
    }
    assert!(shown.contains(MARK));
}

/// Secrets in pieces, because scanners of repositories know them whole: the piece `…N` stands for N
/// characters of that kind (`a` letters and digits, `h` hexadecimal, `u` upper case and digits).
const SECRETS: &[(&str, &[&str])] = &[
    ("OpenAI project", &["sk-", "proj-", "a48"]),
    ("OpenAI service", &["sk-", "svcacct-", "a60"]),
    ("OpenAI old", &["sk-", "a48"]),
    ("Anthropic", &["sk-", "ant-api03-", "a90"]),
    ("OpenRouter", &["sk-", "or-v1-", "h64"]),
    ("Groq", &["gsk", "_", "a52"]),
    ("xAI", &["xai", "-", "a80"]),
    ("Hugging Face", &["hf", "_", "a34"]),
    ("Replicate", &["r8", "_", "a37"]),
    ("Google API", &["AI", "za", "a35"]),
    ("Google OAuth", &["ya", "29.", "a60"]),
    ("Google client secret", &["GOC", "SPX-", "a28"]),
    ("GitHub classic", &["gh", "p_", "a36"]),
    ("GitHub app", &["gh", "s_", "a36"]),
    ("GitHub refresh", &["gh", "r_", "a36"]),
    (
        "GitHub fine-grained",
        &["github", "_pat_", "a22", "_", "a59"],
    ),
    ("GitLab", &["gl", "pat-", "a20"]),
    ("GitLab runner", &["gl", "rt-", "a20"]),
    ("npm", &["np", "m_", "a36"]),
    ("PyPI", &["py", "pi-AgEIcHlwaS5vcmc", "a60"]),
    ("Docker Hub", &["dckr", "_pat_", "a27"]),
    ("Atlassian", &["ATA", "TT3xFfGF0", "a60"]),
    ("AWS key id", &["AK", "IA", "u16"]),
    ("AWS session key id", &["AS", "IA", "u16"]),
    ("Azure client secret", &["abc", "8Q", "~", "a34"]),
    ("DigitalOcean", &["dop", "_v1_", "h64"]),
    ("Databricks", &["da", "pi", "h32"]),
    ("Vault", &["hv", "s.", "a40"]),
    ("Slack bot", &["xo", "xb-", "123456789012-", "a24"]),
    ("Slack app", &["xa", "pp-1-", "A0123-", "a40"]),
    (
        "Slack hook",
        &["hooks.sl", "ack.com/services/", "T0123/B0123/", "a24"],
    ),
    ("Discord bot", &["M", "a23", ".", "a6", ".", "a27"]),
    (
        "Discord hook",
        &["disc", "ord.com/api/webhooks/", "123456789/", "a68"],
    ),
    ("Telegram", &["123456789", ":A", "a34"]),
    ("Stripe", &["sk", "_live_", "a24"]),
    ("Stripe restricted", &["rk", "_test_", "a24"]),
    ("Stripe hook", &["wh", "sec_", "a32"]),
    ("Twilio", &["S", "K", "h32"]),
    ("SendGrid", &["S", "G.", "a22", ".", "a43"]),
    ("Shopify", &["shp", "at_", "h32"]),
    ("JWT", &["ey", "J", "a20", ".ey", "J", "a40", ".", "a43"]),
    (
        "age",
        &["AGE-SECRET", "-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"],
    ),
    ("nsec", &["nse", "c1", "qpzry9x8gf2tvdw0s3jn54khce6mua7l"]),
    (
        "ncryptsec",
        &["ncrypt", "sec1", "qpzry9x8gf2tvdw0s3jn54khce6mua7l"],
    ),
    (
        "private key",
        &[
            "-----BEGIN RSA PRI",
            "VATE KEY-----\n",
            "a64",
            "\n-----END RSA PRI",
            "VATE KEY-----",
        ],
    ),
    (
        "ssh key",
        &[
            "-----BEGIN OPENSSH PRI",
            "VATE KEY-----\n",
            "a64",
            "\n-----END OPENSSH PRI",
            "VATE KEY-----",
        ],
    ),
    (
        "PGP key",
        &[
            "-----BEGIN PGP PRI",
            "VATE KEY BLOCK-----\n",
            "a64",
            "\n-----END PGP PRI",
            "VATE KEY BLOCK-----",
        ],
    ),
    (
        "key in JSON",
        &[
            "-----BEGIN PRI",
            "VATE KEY-----\\n",
            "a64",
            "\\n-----END PRI",
            "VATE KEY-----",
        ],
    ),
    ("key cut off", &["-----BEGIN PRI", "VATE KEY-----\n", "a64"]),
];

/// Where a secret stands: before it, itself, behind it. Before and behind stay.
const PLACES: &[(&str, &str, &str)] = &[
    ("Authorization: Bearer ", "a32", ""),
    ("authorization: Basic ", "a24", "=="),
    ("-H \"Authorization: token ", "a40", "\""),
    ("x-api-key: ", "a32", ""),
    ("{\"api_key\": \"", "a32", "\"}"),
    ("{\\\"apiKey\\\": \\\"", "a32", "\\\"}"),
    ("aws_secret_access_key = ", "a40", ""),
    ("AWS_SECRET_ACCESS_KEY=", "a40", ""),
    ("AZURE_KEY=", "a44", "=="),
    (
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=",
        "a60",
        ";EndpointSuffix=y",
    ),
    ("https://x.blob.example/y?se=1&sig=", "a44", "&sp=r"),
    ("TWILIO_AUTH_TOKEN=", "h32", ""),
    ("export DB_PASSWORD=", "correct-horse", ""),
    ("PASSWORD=\"", "hunter2", "\""),
    ("SECRET_KEY='", "a50", "'"),
    ("postgres://app:", "hunter2", "@db:5432/x"),
    ("redis://:", "a20", "@cache:6379"),
    ("https://user:", "a20", "@example.com/repo.git"),
    ("//registry.example/:_authToken=", "a36", ""),
    ("client_secret => '", "a30", "'"),
    ("password: ", "a16", ""),
];

/// What looks like one and has to stay as it is.
const INNOCENT: &[&str] = &[
    "commit 3437cbfc4d8bb4b6dc48b6b29e9e09b53fb76444",
    "3437cbfc4d8bb4b6dc48b6b29e9e09b53fb76444cda14ab7586e63f36fe3c60c  file",
    "checksum = \"3437cbfc4d8bb4b6dc48b6b29e9e09b53fb76444cda14ab7586e63f36fe3c60c\"",
    "\"integrity\": \"sha512-9NET910DNaIPngYnLLPeg+Ogzqsi9uM4mSboU5y6p8S5DzMTVEsJZrawi+BoDNUVBa2DhJqQYUFvMDfgU062LQ==\"",
    "550e8400-e29b-41d4-a716-446655440000",
    "npub1qpzry9x8gf2tvdw0s3jn54khce6mua7lqpzry9x8gf2tvdw0s3jn54",
    "note1qpzry9x8gf2tvdw0s3jn54khce6mua7lqpzry9x8gf2tvdw0s3jn54",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "a risk-averse, task-oriented desk-research-and-disk-management-team",
    "pip install scikit-learn sk-learn-contrib-lightning-extras",
    "import sk-learn; task-0123456789abcdefghijklmnop",
    "let token = tokenizer.next_token().unwrap_or_default();",
    "const apiKey = process.env.OPENAI_API_KEY;",
    "api_key: ${{ secrets.OPENAI_API_KEY }}",
    "password: $DB_PASSWORD and PASSWORD=${PASSWORD:-x}",
    "fn password(&self) -> &str; password: String, secret: SecretKey,",
    "if (e.key===\"ArrowDown\"&&!t.token){n.password=!0}function(t,e){return t.key=e.key,t}",
    "publicKey: 02a1633cafcc01ebfb6d78e39f687a1f0995c62fc95f51ead10a02ee0be551b5dc",
    "primary_key = id0123456789abcdef, sort_key: date2026112112345678",
    "{\"key\": \"node-modules-linux-x64-20-abcdef0123456789\"}",
    "max_tokens: 4096, tokens: 1234567890123456, keyboard: qwerty1234567890ab",
    "See https://example.com:8080/a@b and ssh://git@example.com/x and mailto:a@b.c",
    "postgres://app:${PASSWORD}@db/x",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dsd2l9GKJ me@host",
    "The bearer of good news; authorization: required; bearer authentication",
    "eyJhbGciOiJIUzI1NiJ9 alone is a header",
    "at 12:34567890 and 10:Afternoon",
    "PWD=/workspace/project\nOLDPWD=/home/agent\n",
];

/// A piece of the corpus, or characters of its kind.
fn piece(piece: &str) -> String {
    let (kind, count) = piece.split_at(1);
    let alphabet: &[u8] = match kind {
        "a" => b"q7Rk2ZpXw9TbVn4LmCy8HsJd",
        "h" => b"0f3a9c71e5d8b246",
        "u" => b"Q7RK2ZPXW9TBVN4L",
        _ => return piece.to_owned(),
    };
    match count.parse::<usize>() {
        Ok(count) => (0..count)
            .map(|at| char::from(alphabet[at % alphabet.len()]))
            .collect(),
        Err(_) => piece.to_owned(),
    }
}

#[test]
fn every_token_of_the_corpus_goes_wherever_it_stands() {
    let redactor = Redactor::new(Vec::new());
    for (name, pieces) in SECRETS {
        let secret: String = pieces.iter().map(|part| piece(part)).collect();
        for (before, behind) in [("", ""), ("see ", " now"), ("x: \"", "\","), ("(", ")")] {
            // One that never ends takes the rest along.
            let behind = if *name == "key cut off" { "" } else { behind };
            let text = format!("{before}{secret}{behind}");
            assert_eq!(
                redactor.redact(&text),
                format!("{before}{MARK}{behind}"),
                "{name}"
            );
        }
    }
}

#[test]
fn what_stands_where_secrets_stand_goes_and_its_surroundings_stay() {
    let redactor = Redactor::new(Vec::new());
    for (before, value, behind) in PLACES {
        let text = format!("{before}{}{behind}", piece(value));
        let clean = redactor.redact(&text);
        assert!(!clean.contains(&piece(value)), "{clean}");
        assert!(
            clean.starts_with(before) && clean.contains(MARK),
            "{text}: {clean}"
        );
        let kept = behind.trim_start_matches('=');
        assert!(clean.ends_with(kept), "{text}: {clean}");
    }
}

#[test]
fn look_alikes_stay_as_they_are() {
    let redactor = Redactor::new(vec!["a-known-secret-1".to_owned()]);
    for innocent in INNOCENT {
        assert_eq!(redactor.redact(innocent), *innocent);
        assert!(matches!(redactor.redact(innocent), Cow::Borrowed(_)));
    }
}

#[test]
fn a_known_secret_is_found_in_every_spelling() {
    use crate::recorder::redact::spellings;
    let secret = "pa\"ss/w\\rd+\u{e9} \n0123";
    let redactor = Redactor::new(vec![secret.to_owned()]);
    for spelling in spellings::of(secret) {
        let text = format!("<{spelling}>");
        assert_eq!(redactor.redact(&text), format!("<{MARK}>"), "{spelling}");
    }
    let json = serde_json::json!({"output": format!("it is {secret}.")}).to_string();
    assert_eq!(
        redactor.redact(&json),
        format!("{{\"output\":\"it is {MARK}.\"}}")
    );
}

#[test]
fn a_known_secret_that_holds_the_shape_of_another_goes_as_a_whole() {
    let inner: String = ["AK", "IA", "u16"].map(piece).concat();
    let secret = format!("left.{inner}.right");
    let redactor = Redactor::new(vec![secret.clone(), "left.".to_owned()]);
    assert_eq!(redactor.redact(&secret), MARK);
}

#[test]
fn forgotten_values_are_ordinary_words_again() {
    let redactor = Redactor::new(vec!["a-known-secret-1".to_owned()]);
    redactor.forget(&["a-known-secret-1".to_owned()]);
    assert_eq!(redactor.redact("a-known-secret-1"), "a-known-secret-1");
}

#[test]
fn redacting_twice_changes_nothing_more() {
    let redactor = Redactor::new(vec!["a-known-secret-1".to_owned()]);
    for (before, value, behind) in PLACES {
        let once = redactor
            .redact(&format!("{before}{}{behind}", piece(value)))
            .into_owned();
        assert_eq!(redactor.redact(&once), once);
    }
}

#[test]
fn known_values_go_also_when_no_automaton_can_be_built() {
    let secrets = ["hunter2hunter2", "hunter2hunter2-and-more"];
    let spellings: Vec<String> = secrets.iter().flat_map(|s| spellings::of(s)).collect();
    let finder = Finder::of(spellings, |_| None);
    for secret in secrets {
        assert_eq!(
            finder.redact(&format!("a {secret} b")),
            format!("a {MARK} b")
        );
    }
    assert_eq!(finder.redact("nothing"), "nothing");
}

#[test]
fn what_was_learned_for_a_while_is_forgotten_with_it() {
    let redactor = Arc::new(Redactor::new(vec!["stays-secret-1".into()]));
    let learned = redactor.learn_while(vec!["a-while-secret-2".into()]);
    assert_eq!(redactor.redact("a-while-secret-2"), MARK);
    drop(learned);
    assert_eq!(redactor.redact("a-while-secret-2"), "a-while-secret-2");
    assert_eq!(redactor.redact("stays-secret-1"), MARK);
}

#[cfg(unix)]
#[test]
fn an_environment_that_is_no_text_is_read_all_the_same() {
    use std::os::unix::ffi::OsStringExt as _;
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let secrets = secrets_of(
        [
            (os(b"ODD\xff"), os(b"\xff")),
            (os(b"ODD_TOKEN"), os(b"odd-\xff-value")),
        ]
        .into_iter(),
    );
    assert_eq!(secrets, ["odd-\u{fffd}-value"]);
}
