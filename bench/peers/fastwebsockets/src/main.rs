//! An echo with fastwebsockets on hyper and tokio, as its own echo example.

use std::{env, process};

use fastwebsockets::{upgrade, FragmentCollector, Frame, OpCode, WebSocketError};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;

/// Collector: one thread, as there is one processor, a task for each connection
/// that is not preempted (`unconstrained`), fragments put together before a
/// message is sent back, as in its example. Frames: each frame sent back as it
/// comes. Threads: the first on tokio's scheduler of several threads, with two. Its writev is for
/// payloads above 1,024 bytes and makes no difference here.
const VARIANTS: [&str; 3] = ["collector", "frames", "threads"];

fn main() {
    let (mut listen, mut variant) = ("127.0.0.1:0".to_string(), VARIANTS[0].to_string());
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--variants" => return println!("{}", VARIANTS.join("\n")),
            "--listen" => listen = args.next().unwrap_or_default(),
            "--variant" => variant = args.next().unwrap_or_default(),
            _ => fail(&format!("unknown argument {arg}")),
        }
    }
    if !VARIANTS.contains(&variant.as_str()) {
        fail(&format!("no variant {variant}: {}", VARIANTS.join(", ")));
    }
    let mut builder = match variant.as_str() {
        "threads" => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.worker_threads(2).enable_io().build().unwrap_or_else(|e| fail(&e.to_string()));
    if let Err(e) = runtime.block_on(serve(listen, variant == "frames")) {
        fail(&e.to_string());
    }
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    process::exit(1)
}

async fn serve(listen: String, frames: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let service = service_fn(move |request| upgraded(request, frames));
            // A client that went is no news.
            let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
        });
    }
}

async fn upgraded(mut request: Request<Incoming>, frames: bool) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgrade) = upgrade::upgrade(&mut request)?;
    tokio::spawn(tokio::task::unconstrained(async move {
        let _ = if frames { by_frame(upgrade).await } else { by_message(upgrade).await };
    }));
    Ok(response)
}

async fn by_message(upgrade: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut ws = FragmentCollector::new(upgrade.await?);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn by_frame(upgrade: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut ws = upgrade.await?;
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                ws.write_frame(Frame::new(frame.fin, frame.opcode, None, frame.payload)).await?
            }
            _ => {}
        }
    }
}
