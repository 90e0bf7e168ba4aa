insert into bare.woken (title) values ('bench');
