use super::*;

fn place(url: &str, key: &'static str) -> Place {
    Place { url: BaseUrl::parse(url).unwrap(), key }
}

fn answer(status: u16) -> Unusable<'static> {
    Unusable { status: StatusCode::from_u16(status).unwrap(), location: None, content_type: None, body: b"" }
}

const PAGE: Option<&str> = Some("text/html; charset=UTF-8");

#[test]
fn what_was_on_the_wire_is_not_quoted() {
    let place = place("https://emr.example.org", "openemr");
    for kind in [ErrorType::ReadError, ErrorType::InvalidHTTPHeader, ErrorType::H1Error, ErrorType::WriteTimedout] {
        let mut error = Error::explain(kind, "buf: GET /fhir/Patient?name=Doe");
        error.esource = ErrorSource::Upstream;
        for text in [summary(&error), place.explain(&error).to_string()] {
            assert!(!text.contains("Doe"), "{text}");
        }
    }
}

#[test]
fn an_address_that_cannot_be_reached_is_told_from_one_that_cannot_be_used() {
    let place = place("https://emr.example.org", "openemr");
    let io = |kind| std::io::Error::from_raw_os_error(kind);
    let (no_route, invalid) = (rustix::io::Errno::HOSTUNREACH.raw_os_error(), rustix::io::Errno::INVAL.raw_os_error());
    for (kind, code, words) in [
        (
            ErrorType::ConnectNoRoute,
            no_route,
            "there is no route to that address (No route to host): is the address in openemr right?",
        ),
        (
            ErrorType::ConnectError,
            invalid,
            "no connection came about (Invalid argument (os error 22)): is the address in openemr right?",
        ),
    ] {
        let told = place.explain(&Error::because(kind, "Fail to connect to 1", io(code))).to_string();
        assert!(told.ends_with(words), "{told}");
    }
}

#[test]
fn a_failed_handshake_says_why() {
    let error =
        Error::because(ErrorType::TLSHandshakeFailure, "TLS", std::io::Error::other("invalid peer certificate: UnknownIssuer"));
    assert!(summary(&error).contains("UnknownIssuer"));
    let told = place("https://emr.example.org", "openemr").explain(&error).to_string();
    assert!(told.contains("UnknownIssuer") && told.contains("ca_file"), "{told}");
}

#[test]
fn a_wrong_path_is_named_where_it_can_be_seen() {
    for (url, key, words) in [
        ("https://h/fhir/oauth2/default/token", "openemr", "Take /fhir out of openemr"),
        ("https://h/apis/default/fhir/oauth2/default/token", "openemr", "Take /apis/default/fhir out of openemr"),
        ("https://h/emr/apis/default/apis/default/fhir", "openemr", "Take /apis/default out of openemr"),
        ("https://h/wrong/oauth2/default/token", "openemr", "Is /wrong OpenEMR's sub-folder?"),
        ("https://h/oauth2/default/token", "openemr", "in a sub-folder"),
        ("https://h/oauth2/default/token", "token_url", "Is the path in token_url right?"),
    ] {
        for answer in [answer(404), Unusable { content_type: PAGE, ..answer(200) }] {
            let told = place(url, key).explain_answer(answer).to_string();
            assert!(told.starts_with(url) && told.contains(words), "{told}");
        }
    }
}

#[test]
fn a_redirect_is_named_without_its_query_and_credentials() {
    let place = place("http://localhost/oauth2/default/token", "openemr");
    for (location, words) in [
        (
            Some("https://emr.example.org/oauth2/default/token?code=secret"),
            "redirects to https://emr.example.org/oauth2/default/token (",
        ),
        (Some("/emr/oauth2/default/token"), "redirects to http://localhost/emr/oauth2/default/token ("),
        (Some("/secret/login?name=secret"), "redirects to http://localhost ("),
        (Some("https://user:secret@emr.example.org/"), "redirects elsewhere ("),
        (Some("//emr.example.org/secret"), "redirects elsewhere ("),
        (None, "redirects elsewhere ("),
    ] {
        let told = place.explain_answer(Unusable { location, ..answer(301) }).to_string();
        assert!(told.contains(words) && !told.contains("secret"), "{told}");
    }
}

#[test]
fn http_spoken_to_a_tls_port_is_recognised() {
    let place = place("http://localhost:443/oauth2/default/token", "openemr");
    let mut alert = Error::explain(ErrorType::InvalidHTTPHeader, "buf: \\x15\\x03\\x03\\x00\\x02\\x02F");
    alert.esource = ErrorSource::Upstream;
    let apache = b"<p>Your browser sent a request that this server could not understand. Reason: You're speaking plain HTTP to an SSL-enabled server port.</p>";
    let nginx = b"<center>The plain HTTP request was sent to HTTPS port</center>";
    for told in [
        place.explain(&alert).to_string(),
        place.explain_answer(Unusable { content_type: PAGE, body: apache, ..answer(400) }).to_string(),
        place.explain_answer(Unusable { content_type: PAGE, body: nginx, ..answer(400) }).to_string(),
    ] {
        assert!(told.contains("Write https:// in openemr"), "{told}");
    }
    let other = place.explain_answer(Unusable { content_type: PAGE, ..answer(400) }).to_string();
    assert!(!other.contains("https://"), "{other}");
}
