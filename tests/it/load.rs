//! Many jobs at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nostr::{Event, Keys};
use serde_json::json;

use crate::{
    harness::{
        Treefort,
        audit::whole_sessions,
        client::{status, tag},
    },
    jobs::statuses,
    model_server::ModelServer,
};

const CUSTOMERS: usize = 10;
const JOBS: usize = 5;
/// Far more than they take: less than a minute with two cores.
const IN_TIME: Duration = Duration::from_secs(200);

/// Sends fifty jobs at the same moment and checks what each of ten customers gets.
async fn fifty_jobs(treefort: &Treefort, customers: &[Keys]) {
    let began = Instant::now();
    let mut at_work = Vec::new();
    for keys in customers {
        let mut client = treefort.client(keys).await;
        let jobs: Vec<Event> = (0..JOBS)
            .map(|number| {
                let prompt = format!("question {number} of {}", keys.public_key().to_hex());
                client.sign(&client.job(treefort.coordinator(), &prompt))
            })
            .collect();
        at_work.push(tokio::spawn(async move {
            let key = client.keys.public_key().to_hex();
            let filter = json!({"kinds": [7000, 6050], "#p": [key]});
            client.subscribe("mine", filter).await;
            for job in &jobs {
                client.raw(json!(["EVENT", job]).to_string()).await;
            }
            let mut answers: BTreeMap<String, Vec<Event>> = BTreeMap::new();
            let mut done = 0;
            while done < JOBS {
                let event = client.next_event().await;
                // The text so far, when the machine is slow.
                if event.kind.as_u16() == 7000 && status(&event) == "partial" {
                    continue;
                }
                let of_job = answers.entry(tag(&event, "e").unwrap()).or_default();
                of_job.push(event);
                let last = statuses(of_job).pop().unwrap();
                done += usize::from(last == "success" || last == "error");
            }
            for job in &jobs {
                let of_job = &answers[&job.id.to_hex()];
                assert_eq!(statuses(of_job), ["processing", "6050", "success"]);
                let prompt = tag(job, "i").unwrap();
                // Its own answer, not that of another.
                assert_eq!(
                    of_job[1].content.trim(),
                    format!("answer: {prompt} (turn 1)")
                );
            }
        }));
    }
    for customer in at_work {
        customer.await.unwrap();
    }
    let took = began.elapsed();
    eprintln!("{} jobs in {took:?}", customers.len() * JOBS);
    assert!(took < IN_TIME, "{took:?}");
}

/// What is stored at the end is exactly what the customers saw.
async fn nothing_twice(treefort: &mut Treefort) {
    let mut client = treefort.client(&treefort.operator()).await;
    treefort.wait_for_no_containers().await;
    let author = treefort.coordinator().to_hex();
    for (kind, times) in [(6050, 1), (7000, 2)] {
        let filter = json!({"kinds": [kind], "authors": [author], "limit": 5000});
        let mut said = client.query(filter).await;
        // The text so far, when the machine is slow.
        said.retain(|event| status(event) != "partial");
        assert_eq!(said.len(), CUSTOMERS * JOBS * times);
    }
    assert_eq!(whole_sessions(&mut client).await.len(), CUSTOMERS * JOBS);
    treefort.terminate();
    assert_eq!(treefort.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_jobs_at_once_from_ten_admitted_customers() {
    let model = ModelServer::start().await;
    let config = "[sessions]\nidle_s = 0\nwarm = 0\n";
    let mut treefort = Treefort::start_with(&model, &[], config);
    let customers: Vec<Keys> = (0..CUSTOMERS).map(|_| Keys::generate()).collect();
    for keys in &customers {
        let key = keys.public_key().to_hex();
        let output = treefort.command(&["allow", &key]).await;
        assert!(output.status.success(), "{output:?}");
    }
    fifty_jobs(&treefort, &customers).await;
    nothing_twice(&mut treefort).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_jobs_at_once_from_ten_strangers() {
    let model = ModelServer::start().await;
    let config = "[sessions]\nwarm = 0\n[jobs]\nmax_running = 8\n\
                  [jobs.strangers]\nat_once = 50\nper_hour = 50\n";
    let mut treefort = Treefort::start_with(&model, &["--admit", "anyone"], config);
    let customers: Vec<Keys> = (0..CUSTOMERS).map(|_| Keys::generate()).collect();
    fifty_jobs(&treefort, &customers).await;
    nothing_twice(&mut treefort).await;
}
