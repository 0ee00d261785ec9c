use super::*;
use proptest::prelude::*;

const OPEN: &str = r#"<div xmlns="http://www.w3.org/1999/xhtml">"#;

fn mended(div: &str) -> Option<String> {
    let written = serde_json::to_string(div).unwrap();
    let made = mended_narrative(&written.as_bytes()[1..written.len() - 1])?;
    Some(serde_json::from_slice(&made).unwrap())
}

#[test]
fn a_name_in_the_paragraph_of_openemr_is_text() {
    for (name, expected) in [
        ("Smith & Sons", "Smith &amp; Sons"),
        ("A < B", "A &lt; B"),
        ("O'Hara \"Bob\" & <b>", "O'Hara \"Bob\" &amp; &lt;b&gt;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("a</p></div><p>b", "a&lt;/p&gt;&lt;/div&gt;&lt;p&gt;b"),
        ("<b>x</b> & y", "&lt;b&gt;x&lt;/b&gt; &amp; y"),
        ("A &amp; B & C", "A &amp; B &amp; C"),
        ("&nbsp;é", "&amp;nbsp;é"),
        ("]]>", "]]&gt;"),
    ] {
        let div = |name: &str| format!("{OPEN} <p>{name}</p></div>");
        assert_eq!(mended(&div(name)).unwrap(), div(expected), "{name}");
        assert_eq!(mended(&div(expected)), None, "{expected}");
    }
}

#[test]
fn what_is_a_narrative_already_stays() {
    for div in [
        format!("{OPEN} <p>José García</p></div>"),
        "<div>x</div>".to_owned(),
        "<div xmlns='http://www.w3.org/1999/xhtml'>\n<p>a<br/>b &lt; &#160; &#xE9;</p><hr /></div> ".to_owned(),
        format!("{OPEN}<table class=\"x\"><tr><td colspan = '2'>1</td></tr></table><!-- c --></div>"),
        format!("{OPEN}<a href=\"https://example.org/?a=1&amp;b=2\">x</a><img src=\"#a\" alt=\"a &gt; b\"/></div>"),
        format!("{OPEN}a > b</div>"),
    ] {
        assert_eq!(mended(&div), None, "{div}");
    }
}

#[test]
fn of_other_narratives_the_markup_that_is_whole_and_allowed_stays() {
    for (inner, expected) in [
        ("<b>A & B</b>", "<b>A &amp; B</b>"),
        ("a<br>b", "a&lt;br&gt;b"),
        ("<b><i>x</b></i>", "<b>&lt;i&gt;x</b>&lt;/i&gt;"),
        ("<p>a</p><p>b & c</p> d", "<p>a</p><p>b &amp; c</p> d"),
        ("<b onclick=\"x()\">x</b>", "&lt;b onclick=\"x()\"&gt;x&lt;/b&gt;"),
        ("<a href=\"javascript:x()\">x</a>", "&lt;a href=\"javascript:x()\"&gt;x&lt;/a&gt;"),
        ("<a href=\"java&#115;cript:x()\">x</a>", "&lt;a href=\"java&#115;cript:x()\"&gt;x&lt;/a&gt;"),
        ("<script>1 && 2</script>", "&lt;script&gt;1 &amp;&amp; 2&lt;/script&gt;"),
        ("<!DOCTYPE x>", "&lt;!DOCTYPE x&gt;"),
    ] {
        let div = |inner: &str| format!("{OPEN}{inner}</div>");
        assert_eq!(mended(&div(inner)).unwrap(), div(expected), "{inner}");
    }
}

#[test]
fn what_is_no_div_at_all_is_left_alone() {
    for div in ["A & B", "<p>A & B</p>", "<div>A & B", "<div>\u{1}</div>", "<span>a</span>", "", "<div>a</div><div>b & c</div>"] {
        assert_eq!(mended(div), None, "{div}");
    }
    assert_eq!(mended_narrative(br"\ud800<div>"), None);
    assert_eq!(mended_narrative(b"<div>\xFF & </div>"), None);
}

#[test]
fn what_is_taken_for_a_plain_name_is_a_narrative() {
    for (before, behind) in TEMPLATES {
        for (name, is_plain) in [
            ("Jos\\u00e9 Garc\\u00eda, Jr.", true),
            ("", true),
            ("A & B", false),
            ("A \\u0026 B", false),
            ("A\\", false),
            ("A\\u00e", false),
            ("A\\u00A0", false),
            ("A\"", false),
            ("<b>", false),
            ("O'Hara", false),
        ] {
            let written = [before, name.as_bytes(), behind].concat();
            assert_eq!(is_plain_name(&written), is_plain, "{name}");
            assert!(!is_plain || is_narrative(&text(&written).unwrap()), "{name}");
        }
    }
    assert!(!is_plain_name(b"<div>x</div>") && !is_plain_name(b""));
}

#[test]
fn elements_within_each_other_without_end_become_text() {
    let inner = format!("{}{}", "<b>".repeat(10_000), "</b>".repeat(10_000));
    let made = mended(&format!("{OPEN}{inner}</div>")).unwrap();
    assert!(made.contains("<b>&lt;b&gt;") && made.contains("</b>&lt;/b&gt;"), "{}", &made[..2000]);
    assert_eq!(
        mended(&format!("{OPEN}{}</div>", "&".repeat(30_000))).unwrap(),
        format!("{OPEN}{}</div>", "&amp;".repeat(30_000))
    );
}

proptest! {
    #[test]
    fn what_is_mended_is_a_narrative_and_stays(
        inner in r#"(<|>|&|;|"|'|/|p|</p>|<p>|<b>|</b>|<br/>|&amp;|&#38;|<div>|</div>|<!--|-->|=| |a|é|]]>){0,24}"#,
        open in prop::sample::select(vec!["<div>", OPEN, "", "<p>"])
    ) {
        let div = format!("{open}{inner}</div>");
        if let Some(made) = mended(&div) {
            prop_assert!(is_narrative(&made), "{}", made);
            prop_assert_eq!(mended(&made), None);
        }
    }
}
