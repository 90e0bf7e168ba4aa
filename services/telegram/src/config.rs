//! The bridge's settings, parsed once at start.

use anyhow::{Context, ensure};
use clap::Parser;
use devart_kit::config::comma_separated;
use devart_kit::http_client::HttpOptions;
use devart_kit::sidecar::SidecarArgs;
use secrecy::{ExposeSecret, SecretString};

use crate::bot::Bot;
use crate::rate_limit::MOST_CHATS;

/// Telegram itself.
const OFFICIAL: &str = "https://api.telegram.org";

/// Tells people of budgets through Telegram.
#[derive(Debug, Clone, Parser)]
#[command(name = "devart-telegram", version)]
pub struct Config {
    /// The bot's token, as BotFather gives it. Without one, alerts are acknowledged and logged.
    #[arg(long, env = "TELEGRAM_BOT_TOKEN", hide_env_values = true)]
    pub telegram_bot_token: Option<SecretString>,

    /// Who is told: ids of chats or @names of channels, separated by commas, 30 at most.
    // Ids of groups are negative.
    #[arg(
        long,
        env = "TELEGRAM_CHAT_ID",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub telegram_chat_id: String,

    /// Where the Bot API answers. The server's certificate must be signed by an authority that this
    /// machine trusts, or that the file SSL_CERT_FILE names.
    #[arg(long, env = "TELEGRAM_API_URL", default_value = OFFICIAL)]
    pub telegram_api_url: String,

    /// The proxy to reach it through, if any: http://user:password@host:port. Proxies of the
    /// environment (HTTPS_PROXY) are not asked.
    #[arg(long, env = "TELEGRAM_PROXY_URL", hide_env_values = true)]
    pub telegram_proxy_url: Option<SecretString>,

    #[command(flatten)]
    pub sidecar: SidecarArgs,
}

/// Who speaks, and to whom.
pub struct Telegram {
    pub bot: Bot,
    /// At least one.
    pub chats: Vec<String>,
}

impl Config {
    /// What the settings say about Telegram; none without a token.
    ///
    /// # Errors
    /// When the token, the chats or the URL cannot be right. The token is not repeated.
    pub fn telegram(&self) -> anyhow::Result<Option<Telegram>> {
        let token = self
            .telegram_bot_token
            .as_ref()
            .map(|it| it.expose_secret().trim());
        let Some(token) = token.filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        ensure!(
            token
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || ":_-".contains(it)),
            "TELEGRAM_BOT_TOKEN is no bot's token: it has other characters than letters, digits, : _ and -"
        );
        let chats = comma_separated(&self.telegram_chat_id);
        ensure!(
            (1..=MOST_CHATS).contains(&chats.len()),
            "TELEGRAM_CHAT_ID must name 1 to {MOST_CHATS} chats when TELEGRAM_BOT_TOKEN is set, not {}",
            chats.len()
        );
        let url = match self.telegram_api_url.trim().trim_end_matches('/') {
            "" => OFFICIAL,
            url => url,
        };
        let bot = Bot::new(url, token, self.http_options())
            .context("TELEGRAM_API_URL or TELEGRAM_PROXY_URL cannot be used")?;
        Ok(Some(Telegram { bot, chats }))
    }

    fn http_options(&self) -> HttpOptions {
        let proxy = self.telegram_proxy_url.clone();
        HttpOptions {
            // An empty variable, as `.env` files have them, means none.
            proxy: proxy.filter(|url| !url.expose_secret().trim().is_empty()),
            ..HttpOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(token: &str, chats: &str, url: &str) -> Config {
        Config::parse_from([
            "devart-telegram",
            "--telegram-bot-token",
            token,
            "--telegram-chat-id",
            chats,
            "--telegram-api-url",
            url,
            "--database-url",
            "postgres://a@b/c",
        ])
    }

    fn refusal(config: &Config) -> String {
        let error = config.telegram().err().expect("refused");
        format!("{error:#}")
    }

    #[test]
    fn an_empty_token_is_none() {
        let config = parse(" ", "1", OFFICIAL);
        assert!(config.telegram().expect("usable").is_none());
    }

    #[test]
    fn several_chats_are_told() {
        let config = parse("1:a", "-100, @ops,", "http://127.0.0.1:1/");
        let telegram = config.telegram().expect("usable").expect("a token");
        assert_eq!(telegram.chats, ["-100", "@ops"]);
    }

    #[test]
    fn what_cannot_work_is_named_and_the_token_is_not_repeated() {
        for (config, name) in [
            (parse("hunter2:a/b", "1", OFFICIAL), "TELEGRAM_BOT_TOKEN"),
            (parse("hunter2:a", "", OFFICIAL), "TELEGRAM_CHAT_ID"),
            (parse("hunter2:a", "1", "ftp://h"), "TELEGRAM_API_URL"),
            (parse("hunter2:a", "1", "http://a b"), "TELEGRAM_API_URL"),
            (parse("hunter2:a", "1", "h"), "TELEGRAM_API_URL"),
        ] {
            let refusal = refusal(&config);
            assert!(refusal.contains(name), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
            assert!(!format!("{config:?}").contains("hunter2"));
        }
    }
}
