-- Gives the administrator the password in the environment as LOGIN_PASSWORD.
\set VERBOSITY terse
SELECT set_config(name, setting, false)
FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_error_statement', 'panic'))
  AS quiet (name, setting)
WHERE (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \g /dev/null

\getenv password LOGIN_PASSWORD

ALTER ROLE current_user PASSWORD :'password';
