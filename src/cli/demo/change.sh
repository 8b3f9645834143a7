# Make it night, and leave a light on (this is the demo's script, no model)
sed -i 's/#eaf4e4/#16211a/; s/#26361f/#e4efdc/; s/#4d8b3f/#2f5a2c/' style.css
echo '.tree b::after { content: ""; position: absolute; left: .2rem; top: 1rem; width: .8rem; height: .8rem; background: #ffd879; }' >> style.css
echo "It is night now, and a light is on."
