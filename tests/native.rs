//! Native functions that decide without tables.

use anyhow::Result;
use uuid::Uuid;

use crate::support::{Database, refusal, sqlstate};

#[tokio::test]
async fn githubs_documented_example_verifies_and_a_forgery_does_not() -> Result<()> {
    let db = Database::create().await?;
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    for (secret, expected) in [
        ("It's a Secret to Everybody", true),
        ("another", false),
        ("", false),
    ] {
        let verified: bool =
            sqlx::query_scalar("select devart.verify_github_signature($1, 'Hello, World!', $2)")
                .bind(secret)
                .bind(signature)
                .fetch_one(&db.owner)
                .await?;
        assert_eq!(verified, expected, "{secret}");
    }
    Ok(())
}

#[tokio::test]
async fn a_template_renders_and_names_what_it_lacks() -> Result<()> {
    let db = Database::create().await?;
    let rendered: String =
        sqlx::query_scalar("select devart.render_template('Review {{ variables.repo }}#{{ n }}', '{\"repo\": \"a/b\", \"n\": 7}')")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(rendered, "Review a/b#7");
    let lacking = sqlx::query("select devart.render_template('{{ who }}', '{}')")
        .execute(&db.owner)
        .await;
    assert_eq!(sqlstate(&lacking), "22023");
    assert!(refusal(lacking).contains("who"));
    Ok(())
}

#[tokio::test]
async fn a_key_hashes_to_its_sha256() -> Result<()> {
    let db = Database::create().await?;
    let same: bool = sqlx::query_scalar(
        "select devart.hash_api_key(k) = sha256(k::bytea) from devart.generate_api_key() k",
    )
    .fetch_one(&db.owner)
    .await?;
    assert!(same);
    Ok(())
}

#[tokio::test]
async fn ids_made_in_one_session_increase() -> Result<()> {
    let db = Database::create().await?;
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select devart.uuid_v7() from generate_series(1, 1000)")
            .fetch_all(&db.owner)
            .await?;
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    Ok(())
}

#[tokio::test]
async fn a_signature_of_another_form_is_false_and_not_an_error() -> Result<()> {
    let db = Database::create().await?;
    let bare = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    for signature in [
        bare,
        "",
        "sha256=",
        "sha256=zz",
        "sha1=757107ea",
        &format!("sha256={bare}00"),
    ] {
        let verified: bool = sqlx::query_scalar(
            "select devart.verify_github_signature('It''s a Secret to Everybody', 'Hello, World!', $1)",
        )
        .bind(signature)
        .fetch_one(&db.owner)
        .await?;
        assert!(!verified, "{signature}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_has_its_documented_form_and_no_two_are_the_same() -> Result<()> {
    let db = Database::create().await?;
    let keys: std::collections::BTreeSet<String> =
        sqlx::query_scalar("select devart.generate_api_key() from generate_series(1, 100)")
            .fetch_all(&db.owner)
            .await?
            .into_iter()
            .collect();
    assert_eq!(keys.len(), 100);
    for key in keys {
        let lengths: Vec<usize> = key.split('_').map(str::len).collect();
        assert!(
            key.starts_with("dva_") && lengths == [3, 12, 32, 6],
            "{key}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_template_inserts_is_not_rendered_again() -> Result<()> {
    let db = Database::create().await?;
    let rendered: String =
        sqlx::query_scalar(r#"select devart.render_template('{{ a }} {{ o }}', '{"a": "{{ b }}", "b": "x", "o": {"n": 1.50}}')"#)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(rendered, r#"{{ b }} {"n":1.50}"#);
    Ok(())
}
