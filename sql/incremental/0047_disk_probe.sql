-- Where devart_private.can_grow() writes to see whether the disk has room. Always empty.

create table devart_private.disk_probe (
    id int primary key,
    filler text not null
);
-- As it is: neither compressed nor elsewhere.
alter table devart_private.disk_probe alter column filler set storage plain;
