insert into bare.notified (title) values ('bench');
