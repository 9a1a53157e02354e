-- Closes every database that is ours to all but its owner and the superuser.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE pg_has_role(current_user, datdba, 'member') \gexec

-- The operator's instances find each other and read statistics.
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', datname, rolname) FROM pg_database, pg_roles
WHERE datname IN ('postgres', 'app') AND rolname IN ('streaming_replica', 'cnpg_metrics_exporter', 'cnpg_pooler_pgbouncer') \gexec
