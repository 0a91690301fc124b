//! What `audio-classification` clients of Hugging Face send and expect: `POST /` and `POST /predict`.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use messymash::classifier::{Prediction, ScoreFunction};

use super::Service;
use super::answer::{Answer, ok};
use super::errors::{Problem, Result};
use super::query::Query;
use super::{api, body};

/// Labels in an answer where nothing is asked for, as in `transformers`.
const TOP_K: usize = 5;

/// A JSON list of labels and scores, whatever was sent: `huggingface_hub` and `@huggingface/inference` insist on it.
pub async fn predict(service: &Arc<Service>, parts: &Parts, body: &mut Incoming) -> Result<Answer> {
    let query = Query::new(parts.uri.query());
    let (mut options, asked) = (api::options(service, &query)?, api::top_k(&query)?);
    let (place, bytes) = body::receive(&parts.headers, body, &service.queue, &service.limits).await?;
    let sound = body::sound(&parts.headers, bytes).await?;
    let parameters = sound.parameters.clone().unwrap_or_default();
    let top_k = parameters.top_k.or(asked).unwrap_or(TOP_K);
    if top_k == 0 {
        return Err(Problem::validation(
            "top_k is 0; it must be a whole number from 1.",
        ));
    }
    let function = parameters
        .function_to_apply
        .as_deref()
        .or(query.text("function_to_apply"));
    options.function = match function {
        None => None,
        Some("softmax") => Some(ScoreFunction::Softmax),
        Some("sigmoid") => Some(ScoreFunction::Sigmoid),
        Some("none") => Some(ScoreFunction::None),
        Some(_) => {
            let message = "function_to_apply must be \"softmax\", \"sigmoid\" or \"none\".";
            return Err(Problem::validation(message));
        }
    };
    let hearing = service.clone();
    let work = move |task: &_| api::hear(&hearing, &sound.bytes, &options, task, &mut |_, _| ());
    let heard = service.queue.run(place, work).await?;
    let list: &[Prediction] = heard.top(top_k);
    let mut answer = ok(&list);
    let codes: Vec<&str> = heard
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    if let (false, Ok(codes)) = (codes.is_empty(), HeaderValue::from_str(&codes.join(", "))) {
        answer.headers_mut().insert("x-audio-warnings", codes);
    }
    Ok(answer)
}
