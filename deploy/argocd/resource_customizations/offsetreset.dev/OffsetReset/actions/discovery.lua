local phase = obj.status ~= nil and obj.status.phase or nil
-- Suspending has an effect only before the consumers are stopped.
local waiting = phase == nil or phase == "Pending" or phase == "Planning"
local suspended = obj.spec.suspend == true

local actions = {}
actions["run"] = {
  ["displayName"] = "Run what was planned",
  ["iconClass"] = "fa fa-fw fa-play",
  ["disabled"] = not (phase == "Planned" and obj.spec.dryRun == true)
}
actions["suspend"] = {
  ["displayName"] = "Suspend before the stop",
  ["iconClass"] = "fa fa-fw fa-pause",
  ["disabled"] = suspended or not waiting
}
actions["resume"] = {
  ["displayName"] = "Resume",
  ["iconClass"] = "fa fa-fw fa-forward",
  ["disabled"] = not (suspended and waiting)
}
return actions
