with spent as (update bare.account set spent = spent + 0.01 where id = 0 returning id) insert into bare.ledger (account, amount) select id, 0.01 from spent;
