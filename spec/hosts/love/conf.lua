function love.conf(t) -- luacheck: ignore
  t.window.width, t.window.height, t.window.vsync = 200, 60, 0
  t.modules.audio, t.modules.sound, t.modules.joystick = false, false, false
end
