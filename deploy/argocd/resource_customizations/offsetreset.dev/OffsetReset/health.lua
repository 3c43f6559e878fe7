-- Progressing until the reset has ended, Suspended while spec.suspend keeps it waiting, Healthy when it has succeeded or the plan of
-- a dry run is complete, Degraded when it has failed.
local hs = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end
local stalled, ready = conditions["Stalled"], conditions["Ready"]
local message = obj.status.message or hs.message
if stalled ~= nil and stalled.status == "True" then
  -- What happened, and what a person has to do.
  return { status = "Degraded", message = message .. ". " .. stalled.message }
end
if ready ~= nil and ready.status == "True" then
  return { status = "Healthy", message = message }
end
if obj.status.reason == "Suspended" then
  return { status = "Suspended", message = message }
end
hs.message = message
return hs
