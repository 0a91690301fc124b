//! The description of the interface for programs (`openapi.json`, kept by hand and held against the routes by tests), and
//! the same for people.

use std::fmt::Write;

use hyper::StatusCode;
use serde_json::Value;

use super::answer::{Answer, JSON, bytes};
use super::errors::Kind;

const DOCUMENT: &str = include_str!("openapi.json");
const STYLE: &str = include_str!("docs.css");

/// The document; what is in it from the code is its version and its statuses.
fn value() -> Value {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let types: Vec<&str> = Kind::ALL.iter().map(|kind| kind.error_type()).collect();
    document["components"]["schemas"]["Error"]["properties"]["error_type"]["enum"] = types.into();
    document
}

/// `GET /openapi.json`.
pub fn document() -> Answer {
    bytes(StatusCode::OK, JSON, value().to_string())
}

/// `GET /docs.css`.
pub fn style() -> Answer {
    bytes(StatusCode::OK, "text/css; charset=utf-8", STYLE)
}

/// `GET /docs`: the document as a page, without a script.
pub fn page() -> Answer {
    let document = value();
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>messymash: the interface</title>\n\
         <link rel=\"stylesheet\" href=\"/docs.css\">\n</head>\n<body>\n<main>\n",
    );
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let info = &document["info"];
    let _ = write!(
        html,
        "<h1>{} <small>{}</small></h1>\n<p>{}</p>\n<p><a href=\"/\">The page</a> · <a href=\"/openapi.json\">OpenAPI document</a> · \
         <a href=\"#errors\">Errors</a></p>\n",
        text(&info["title"]),
        text(&info["version"]),
        text(&info["description"])
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(
            html,
            "<h2>{}</h2>\n<p>{}</p>\n",
            text(&tag["name"]),
            text(&tag["description"])
        );
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag["name"] {
                    section(&mut html, path, method, operation);
                }
            }
        }
    }
    html.push_str("<h2 id=\"errors\">Errors</h2>\n<div class=\"wide\"><table>\n<tr><th>status</th><th>error_type</th><th>when</th></tr>\n");
    for kind in Kind::ALL {
        let (status, error_type, when) = kind.row();
        let _ = writeln!(
            html,
            "<tr><td>{status}</td><td><code>{error_type}</code></td><td>{}</td></tr>",
            escaped(when)
        );
    }
    html.push_str("</table></div>\n</main>\n</body>\n</html>\n");
    bytes(StatusCode::OK, "text/html; charset=utf-8", html)
}

fn section(html: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let _ = write!(
        html,
        "<section>\n<h3><span class=\"{method}\">{}</span> <code>{}</code></h3>\n<p>{}</p>\n",
        method.to_uppercase(),
        escaped(path),
        text(&operation["summary"])
    );
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters {
        html.push_str("<dl>\n");
        for parameter in parameters {
            let (name, what) = (text(&parameter["name"]), text(&parameter["description"]));
            let _ = writeln!(html, "<dt><code>{name}</code></dt><dd>{what}</dd>");
        }
        html.push_str("</dl>\n");
    }
    let bodies = operation["requestBody"]["content"].as_object();
    if let Some(bodies) = bodies {
        let types: Vec<String> = bodies
            .keys()
            .map(|body| format!("<code>{}</code>", escaped(body)))
            .collect();
        let _ = writeln!(html, "<p>Body: {}</p>", types.join(", "));
    }
    html.push_str("</section>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let document = value();
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            described.extend(
                methods
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|method| (method.to_uppercase(), path.clone())),
            );
        }
        let mut routes: Vec<_> = ROUTES
            .iter()
            .map(|row| (row.0.to_string(), row.1.to_string()))
            .collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
    }

    #[test]
    fn what_answers_without_a_key_is_described_as_such_and_nothing_else_is() {
        let document = value();
        for (method, path, route) in ROUTES {
            let security = &document["paths"][path][method.to_lowercase()]["security"];
            assert_eq!(
                *security == serde_json::json!([]),
                route.is_open(),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn every_operation_is_told_on_the_page_and_lists_the_errors_it_can_give() {
        let document = value();
        let tags: Vec<&Value> = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| &tag["name"])
            .collect();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
                assert!(operation["summary"].as_str().unwrap().len() > 10);
                assert_eq!(
                    operation["responses"]["default"]["$ref"], "#/components/responses/Error",
                    "{method} {path}"
                );
            }
        }
    }
}
