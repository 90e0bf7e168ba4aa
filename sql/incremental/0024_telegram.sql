-- The login of the bridge to Telegram.

select devart_private.create_bridge('telegram');
