insert into bare.plain (title) values ('bench');
