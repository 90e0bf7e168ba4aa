begin;
update bare.account set spent = spent + 0.01 where id = 0;
insert into bare.ledger (account, amount) values (0, 0.01);
commit;
