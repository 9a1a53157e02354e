-- Revokes the access of PUBLIC to the databases of the platform: only the owner and the superuser keep access.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE pg_has_role(current_user, datdba, 'member') \gexec
