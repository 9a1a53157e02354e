-- Drops the roles of passwords that are accepted no more. Takes the psql variables role and logins, a list with commas.
SELECT format('DROP ROLE %I', member.rolname)
FROM pg_auth_members
JOIN pg_roles AS owner ON owner.oid = roleid
JOIN pg_roles AS member ON member.oid = pg_auth_members.member
WHERE owner.rolname = :'role' AND member.rolname ~ ('^' || :'role' || '_[0-9a-f]{8}$')
  AND NOT member.rolname = ANY (string_to_array(:'logins', ',')) \gexec
