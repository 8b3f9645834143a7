//! Encrypted relays: one that proves who it is gets what may leave, and one that does not gets nothing.

use std::{path::Path, process::Command, sync::Arc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::*;

/// A certificate for a name, in this folder; gives what serves it.
pub(super) fn certificate(folder: &Path, name: &str) -> TlsAcceptor {
    let (key, cert) = (
        folder.join(format!("{name}.key")),
        folder.join(format!("{name}.pem")),
    );
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=a relay",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    served(folder, name)
}

/// What serves a certificate that was made before.
pub(super) fn served(folder: &Path, name: &str) -> TlsAcceptor {
    let (key, cert) = (
        folder.join(format!("{name}.key")),
        folder.join(format!("{name}.pem")),
    );
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&cert).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_relay_that_proves_who_it_is_gets_anything() {
    let model = ModelServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut relays = Vec::new();
    // The machine trusts the first two; the second of them is somebody else.
    for name in ["localhost", "elsewhere.example", "unknown"] {
        let name_there = if name == "unknown" { "localhost" } else { name };
        let inner = folder.path().join(name);
        std::fs::create_dir(&inner).unwrap();
        let tls = certificate(&inner, name_there);
        relays.push(Foreign::start_as(Manner::default(), Some(tls)).await);
    }
    let trusted = [
        "localhost/localhost.pem",
        "elsewhere.example/elsewhere.example.pem",
    ]
    .map(|file| std::fs::read_to_string(folder.path().join(file)).unwrap())
    .concat();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, trusted).unwrap();
    relays.push(Foreign::start(Manner::default()).await);
    let environment = [NO_DOCKER, ("SSL_CERT_FILE", roots.to_str().unwrap())];
    let mut treefort = Treefort::start_in(&model, &[], "", &environment);
    let wss = |address: &str| {
        let port = address.rsplit(':').next().unwrap();
        format!("wss://localhost:{port}/")
    };
    let mut urls: Vec<String> = relays.iter().map(|relay| wss(&relay.address)).collect();
    // A plain relay hangs up when it is spoken to in TLS; a web server answers.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    urls.push(wss(&server.local_addr().unwrap().to_string()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let refused = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(refused).await;
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    set(&mut treefort, &stream("up", &urls));
    let operator = treefort.operator();
    let recipes: Vec<Event> = (0..20).map(|n| recipe(&operator, n)).collect();
    give(&mut treefort.client(&operator).await, &recipes).await;
    until("it arrives", &treefort, async || {
        relays[0].count() == recipes.len()
    })
    .await;
    same_bytes(&relays[0], &recipes);
    until("the others are named", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        (1..3).all(|at| {
            status["relays"][at]["problem"]
                .as_str()
                .is_some_and(|problem| problem.contains("cannot prove who it is"))
        })
    })
    .await;
    until(
        "those without TLS are told from these",
        &treefort,
        async || {
            let status = told(&treefort, &["sync", "--json"]).await;
            (3..5).all(|at| {
                status["relays"][at]["problem"]
                    .as_str()
                    .is_some_and(|problem| problem.contains("does not answer in TLS"))
            })
        },
    )
    .await;
    assert!(relays[1].sent().is_empty() && relays[2].sent().is_empty());
}
