-- bytes(text) -> next_byte, is_over: next_byte(below) reads a number, 0 behind the end; is_over: all was read.
return function(text)
  local at = 0
  return function(most)
    at = at + 1
    return (text:byte(at) or 0) % most
  end, function() return at >= #text end
end
