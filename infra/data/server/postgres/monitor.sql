-- Makes the role that looks at statistics. Takes the psql variable role. Connections to the database postgres only.
SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

ALTER ROLE :"role" NOLOGIN;
SELECT format('GRANT %I TO current_user', :'role') WHERE NOT pg_has_role(current_user, :'role', 'member') \gexec
SELECT format('GRANT pg_monitor TO %I', :'role') WHERE NOT pg_has_role(:'role', 'pg_monitor', 'member') \gexec
GRANT CONNECT ON DATABASE postgres TO :"role";
