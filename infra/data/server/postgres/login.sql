-- Makes a role that signs in with one password and acts as the owner. Takes the psql variables role, login,
-- connections, timeout (of a statement; 0 for none) and renew (whether the role gets the password), and the password in the environment
-- as LOGIN_PASSWORD.
-- Neither the server's log nor psql's own messages may quote a statement that holds a password.
\set VERBOSITY terse
SELECT set_config(name, setting, false)
FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_error_statement', 'panic'))
  AS quiet (name, setting)
WHERE (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \g /dev/null

\getenv password LOGIN_PASSWORD

SELECT format('CREATE ROLE %I', :'login')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'login') \gexec

ALTER ROLE :"login" LOGIN CONNECTION LIMIT :connections;
\if :renew
	ALTER ROLE :"login" PASSWORD :'password';
\endif
SELECT format('GRANT %I TO %I', :'role', :'login') WHERE NOT pg_has_role(:'login', :'role', 'member') \gexec
ALTER ROLE :"login" SET role = :"role";
ALTER ROLE :"login" SET statement_timeout = :'timeout';
