begin;
update bare.account set spent = spent + 0.01 where id = :client_id;
insert into bare.ledger (account, amount) values (:client_id, 0.01);
commit;
