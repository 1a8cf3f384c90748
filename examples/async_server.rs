//! Many requests, one device, on tokio: a bounded queue whose senders wait (back pressure), workers with a prepared
//! run each, and one task that polls the device. Here the requests come from within.
//!
//! `cargo run --release --example async_server -- [REQUESTS]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use perceiver::{Control, Engine, NamedTensors, RunOptions, Tensor};
use tokio::sync::{Mutex, mpsc, oneshot};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Tokens of a request.
const LENGTH: usize = 64;
/// Requests that wait in the queue before senders do.
const QUEUE: usize = 8;
/// Runs that are on the device at once.
const WORKERS: usize = 2;

/// A text's tokens, and where the answer goes.
struct Request {
    ids: Vec<i64>,
    answer: oneshot::Sender<perceiver::Result<Tensor>>,
}

async fn device() -> Result<(wgpu::Device, wgpu::Queue), Failure> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let request = wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    Ok(adapter.request_device(&request).await?)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let requests = std::env::args().nth(1).map_or(Ok(40), |n| n.parse::<usize>())?;
    let (device, queue) = device().await?;
    let engine = Engine::from_wgpu(device.clone(), queue);
    let model = engine.load("models/text-tiny")?;

    // wgpu calls back when the device is polled.
    let over = Arc::new(AtomicBool::new(false));
    let (polled, ended) = (device.clone(), over.clone());
    let poller = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            let _ = polled.poll(wgpu::PollType::Poll);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });

    let (sender, receiver) = mpsc::channel::<Request>(QUEUE);
    let receiver = Arc::new(Mutex::new(receiver));
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let receiver = receiver.clone();
        let shapes = [("input_ids", &[1, LENGTH][..])];
        let mut run = model.prepare_async(&shapes, RunOptions::default()).await?;
        workers.push(tokio::spawn(async move {
            loop {
                let Some(request) = receiver.lock().await.recv().await else { return };
                let ids = Tensor::i64(vec![1, LENGTH], request.ids);
                let inputs = ids.map(|ids| NamedTensors::from([("input_ids".to_owned(), ids)]));
                let answer = async {
                    run.write(&inputs?)?;
                    let mut outputs = run.run_async(&Control::new()).await?;
                    let missing = || perceiver::Error::input("logits", "are missing", "an output");
                    outputs.remove("logits").ok_or_else(missing)
                };
                // A client that has gone away does not stop the worker.
                let _ = request.answer.send(answer.await);
            }
        }));
    }

    let begin = Instant::now();
    let mut clients = Vec::new();
    for number in 0..requests {
        let sender = sender.clone();
        clients.push(tokio::spawn(async move {
            let ids = (0..LENGTH).map(|i| 6 + ((i * (number + 3)) % 256) as i64).collect();
            let (answer, answered) = oneshot::channel();
            let asked = Instant::now();
            // Waits here while the queue is full.
            sender.send(Request { ids, answer }).await.map_err(|e| e.to_string())?;
            let logits = answered.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            Ok::<_, String>((asked.elapsed(), logits.shape().to_vec()))
        }));
    }
    drop(sender);
    let mut longest = Duration::ZERO;
    for client in clients {
        let (time, shape) = client.await??;
        assert_eq!(shape[0], 1);
        longest = longest.max(time);
    }
    let seconds = begin.elapsed().as_secs_f64();
    for worker in workers {
        worker.await?;
    }
    over.store(true, Ordering::Relaxed);
    poller.await?;
    println!(
        "{requests} requests on {} in {seconds:.2} s ({:.1} a second), the longest wait {:.2} s",
        engine.device_name(),
        requests as f64 / seconds,
        longest.as_secs_f64()
    );
    Ok(())
}
